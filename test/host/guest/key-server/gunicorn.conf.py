# How both servers are run. See start.
import os

wsgi_app = os.environ["APPLICATION"]
bind = f"0.0.0.0:{os.environ['PORT']}"
# Loaded before systemd hears that it is ready; and one process is enough for one processor.
preload_app = True
workers = 1
threads = 4
# A server that a test stops for a while goes on where it was.
timeout = 0
control_socket_disable = True
worker_tmp_dir = "/dev/shm"
certfile = keyfile = "/etc/key-server/server.pem"
accesslog = "-"
access_log_format = '%(h)s "%(r)s" %(s)s'
loglevel = "warning"
