/**
 * Connections to Keystone and Barbican: a new one for each request, TLS of at least 1.2, and of what they bring no copy is
 * left in this process. What is kept of it is for whoever reads the answer.
 */
import http from 'node:http';
import https from 'node:https';
import type net from 'node:net';
import { wipeStackSoon } from './stack.ts';

const SOCKETS_MAX = 8;
/** What a record of TLS holds at most (RFC 8446, section 5.1). */
const READ_BYTES_MAX = 2 ** 14;
/**
 * OpenSSL overwrites its own copy of what it has handed out, which else stays in a buffer that is given back as it is.
 * SSL_OP_BIT(1) in openssl/ssl.h, https://docs.openssl.org/3.5/man3/SSL_CTX_set_options/; node:crypto has no name for it,
 * and passes on what it does not know.
 */
const SSL_OP_CLEANSE_PLAINTEXT = 2;

export interface KeyAgents {
  readonly https: https.Agent;
  readonly http: http.Agent;
}

/** `ca`: PEM text of the authority to trust instead of the system's. */
export function keyAgents(ca: string | undefined): KeyAgents {
  // A connection for each request: a kept one may be closed by the other side in the very moment it is used.
  const common = { keepAlive: false, maxSockets: SOCKETS_MAX };
  const secure = { minVersion: 'TLSv1.2', secureOptions: SSL_OP_CLEANSE_PLAINTEXT } as const;
  return {
    http: wiping(new http.Agent(common)),
    https: wiping(new https.Agent({ ...common, ...secure, ...(ca === undefined ? {} : { ca }) })),
  };
}

/**
 * What comes is read into memory of ours, and overwritten as soon as the parser, which copies the bytes of a body, has had
 * it. Node's own way is to read into memory that it gives back as it is, with whatever was in it.
 */
function wiping<Agent extends http.Agent>(agent: Agent): Agent {
  const connect = agent.createConnection.bind(agent);
  agent.createConnection = (options, callback) => {
    const onread: net.OnReadOpts = {
      buffer: Buffer.alloc(READ_BYTES_MAX),
      callback: (countBytes, buffer) => {
        socket?.emit('data', Buffer.from(buffer.buffer, buffer.byteOffset, countBytes));
        buffer.fill(0, 0, countBytes);
        return true;
      },
    };
    // Passed on to the socket, though the types say so of net.connect() only.
    const socket = connect({ ...options, ...{ onread } }, callback);
    socket?.once('close', wipeStackSoon);
    return socket;
  };
  return agent;
}
