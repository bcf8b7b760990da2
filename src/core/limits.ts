// Hard limits of the gateway, with defaults. Every buffer, count and time in the pipeline is bounded by one of these.

export interface Limits {
  /** Whole message as received, in bytes; offered as SIZE (RFC 1870). EXO sends up to 150 MiB. */
  readonly maxMessageBytes: number;
  /** One header section, in bytes and in lines. */
  readonly maxHeaderBytes: number;
  readonly maxHeaderLines: number;
  readonly maxRecipients: number;
  /** MIME nesting and parts. */
  readonly maxDepth: number;
  readonly maxParts: number;
  readonly maxConnections: number;
  readonly maxConnectionsPerAddress: number;
  readonly idleTimeoutMs: number;
  /** One session; extended by a minute for each 4 MB received. */
  readonly sessionTimeoutMs: number;
  /** Slowest accepted DATA rate, after `minRateAfterMs`. */
  readonly minDataBytesPerSecond: number;
  readonly minRateAfterMs: number;
  /** Received fields that make a loop (RFC 5321 §6.3). */
  readonly maxReceived: number;
  /** RAM per hold before it goes to a sealed file. */
  readonly holdMemoryBytes: number;
  readonly maxRecipientInfos: number;
  readonly maxKeysTried: number;
  readonly maxSigners: number;
}

export const defaultLimits: Limits = {
  maxMessageBytes: 157_286_400,
  maxHeaderBytes: 262_144,
  maxHeaderLines: 2_000,
  maxRecipients: 500,
  maxDepth: 50,
  maxParts: 1_000,
  maxConnections: 200,
  maxConnectionsPerAddress: 20,
  idleTimeoutMs: 60_000,
  sessionTimeoutMs: 1_200_000,
  minDataBytesPerSecond: 500,
  minRateAfterMs: 30_000,
  maxReceived: 25,
  holdMemoryBytes: 262_144,
  maxRecipientInfos: 500,
  maxKeysTried: 5,
  maxSigners: 10,
};
