// The one error inside this folder: an OpenPGP object that cannot be read. It never leaves it; the message functions turn
// it into an outcome, the key functions into a GatewayError.

export type FaultReason = 'malformed' | 'unsupported' | 'failed';

/** `reason` is what the structure shows; after a private key was tried, callers report `failed` whatever it says. */
export class PgpFault extends Error {
  override readonly name = 'PgpFault';
  readonly reason: FaultReason;

  constructor(reason: FaultReason, message: string) {
    super(message);
    this.reason = reason;
  }
}
