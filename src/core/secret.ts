// A value that must not be shown: passwords, tenant secrets, KEKs.
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
