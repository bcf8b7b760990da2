// The part of mx-connect that the gateway uses; the package brings no types.
declare module 'mx-connect' {
  import type { Socket } from 'node:net';

  export interface MxConnectOptions {
    readonly target: string;
    readonly port: number;
    readonly maxConnectTime: number;
    readonly mx?: readonly string[];
    readonly ignoreMXHosts: readonly string[];
    readonly dnsOptions: {
      readonly blockLocalAddresses: boolean;
      readonly blockReservedNetworks: boolean;
      readonly resolveRecords?: (domain: string, type: string) => Promise<unknown>;
    };
  }

  export interface MxConnection {
    readonly socket: Socket;
    readonly hostname: string;
    readonly host: string;
  }

  /** Errors carry `code`, and `temporary` where another attempt may succeed. */
  export default function mxConnect(options: MxConnectOptions): Promise<MxConnection>;
}
