/** Where a key of `file:NAME` lies: encrypted by systemd for this host, in a folder of root's that the daemon cannot read. */

export const KEY_FOLDER = '/var/lib/libvirt-volume-provisioner-keys';

/** What follows the name of a key in that of its file. */
export const KEY_FILE_SUFFIX = '.cred';

/** Encrypted along with the key, so that one file cannot be put into the place of another. */
export function credentialNameOf(name: string): string {
  return `lvp-key-${name}`;
}
