// CFB by way of ECB gives what OpenSSL's own CFB gives, however the ciphertext is cut.
import assert from 'node:assert/strict';
import { createCipheriv, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { openCfb } from '../../../src/pgp/cfb.ts';

const CIPHERS = [
  ['aes-128-cfb', 16, 16],
  ['aes-192-cfb', 24, 16],
  ['aes-256-cfb', 32, 16],
  ['des-ede3-cfb', 24, 8],
] as const;
const SIZES = [0, 1, 15, 16, 17, 255, 4_096, 65_535, 65_536, 65_537, 131_072, 200_001];

for (const [name, keyBytes, blockBytes] of CIPHERS) {
  test(`${name}: all sizes and cuts`, () => {
    for (const size of SIZES) {
      const key = randomBytes(keyBytes);
      const plain = randomBytes(size);
      const sealed = createCipheriv(name, key, Buffer.alloc(blockBytes)).update(plain);
      for (const cut of [1, 16, 1_000, 65_536, 300_000]) {
        if (size / cut > 10_000) continue;
        const decipher = openCfb(name, key, blockBytes);
        const out: Buffer[] = [];
        for (let at = 0; at < size; at += cut) out.push(...decipher.update(sealed.subarray(at, at + cut)));
        out.push(...decipher.final());
        assert.ok(Buffer.concat(out).equals(plain), `${size} bytes in ${cut}`);
      }
    }
  });
}
