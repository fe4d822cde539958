/** Where things are unless the configuration says otherwise; the same as in its schema, without loading that. */
export const STATE_DIR = '/var/lib/libvirt-volume-provisioner';
export const RUNTIME_DIR = '/run/libvirt-volume-provisioner';
export const SERVICE_USER = 'libvirt-volume-provisioner';
