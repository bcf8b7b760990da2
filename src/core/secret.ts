// A value that must not be shown: passwords, tenant secrets, KEKs.
import { createHash, timingSafeEqual } from 'node:crypto';
import { inspect } from 'node:util';

/** Holds a secret. SECURITY: no printing, logging or JSON path shows it (test: canary); `reveal` is the only way out. */
export class Secret {
  readonly #value: Buffer;

  constructor(value: Uint8Array | string) {
    this.#value = Buffer.from(value as Uint8Array);
  }

  reveal(): Buffer {
    return this.#value;
  }

  /** Compares in a time that tells nothing about where the two differ, nor about their lengths. */
  equals(other: Secret): boolean {
    return timingSafeEqual(digestOf(this.#value), digestOf(other.#value));
  }

  toString(): string {
    return '[secret]';
  }

  toJSON(): string {
    return '[secret]';
  }

  [inspect.custom](): string {
    return '[secret]';
  }
}

function digestOf(value: Buffer): Buffer {
  return createHash('sha256').update(value).digest();
}
