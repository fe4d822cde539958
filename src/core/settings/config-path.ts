/** The configuration's place. By itself, for whoever names it without reading what stands there. */
export const CONFIG_PATH = '/etc/libvirt-volume-provisioner/config.yaml';
