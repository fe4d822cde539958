/** The connection to libvirt over D-Bus. */
import type { Registry } from 'prom-client';
import { Counter, Gauge } from 'prom-client';
import type { LibvirtEvent } from '../../provision/ports/libvirt.ts';

export class LibvirtMetrics {
  readonly #connected;
  readonly #connections;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#connected = new Gauge({
      ...{ name: 'lvp_libvirt_connected', help: 'Whether libvirt answers: 1, or 0.', registers },
    });
    this.#connections = new Counter({
      name: 'lvp_libvirt_connections_total',
      help: 'Connections to libvirt that were made, the first one and each that followed a loss.',
      registers,
    });
  }

  heard({ kind }: LibvirtEvent): void {
    if (kind === 'connected') {
      this.#connected.set(1);
      this.#connections.inc();
    }
    if (kind === 'disconnected') this.#connected.set(0);
  }
}
