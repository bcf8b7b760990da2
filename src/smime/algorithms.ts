// Object identifiers of CMS and S/MIME, and what of them this gateway reads and writes (RFC 8551 §2, RFC 5652).

export const ID = {
  data: '1.2.840.113549.1.7.1',
  signedData: '1.2.840.113549.1.7.2',
  envelopedData: '1.2.840.113549.1.7.3',
  compressedData: '1.2.840.113549.1.9.16.1.9',
  authEnvelopedData: '1.2.840.113549.1.9.16.1.23',
  contentType: '1.2.840.113549.1.9.3',
  messageDigest: '1.2.840.113549.1.9.4',
  signingTime: '1.2.840.113549.1.9.5',
  smimeCapabilities: '1.2.840.113549.1.9.15',
  encryptionKeyPreference: '1.2.840.113549.1.9.16.2.11',
  rsaEncryption: '1.2.840.113549.1.1.1',
  rsaOaep: '1.2.840.113549.1.1.7',
  rsaPss: '1.2.840.113549.1.1.10',
  mgf1: '1.2.840.113549.1.1.8',
  pSpecified: '1.2.840.113549.1.1.9',
  ed25519: '1.3.101.112',
  ed448: '1.3.101.113',
  ecPublicKey: '1.2.840.10045.2.1',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  ecdsaWithSha384: '1.2.840.10045.4.3.3',
  ecdsaWithSha512: '1.2.840.10045.4.3.4',
  sha256: '2.16.840.1.101.3.4.2.1',
  sha384: '2.16.840.1.101.3.4.2.2',
  sha512: '2.16.840.1.101.3.4.2.3',
  aes128Cbc: '2.16.840.1.101.3.4.1.2',
  aes256Cbc: '2.16.840.1.101.3.4.1.42',
  aes128Gcm: '2.16.840.1.101.3.4.1.6',
  aes256Gcm: '2.16.840.1.101.3.4.1.46',
  aes128Wrap: '2.16.840.1.101.3.4.1.5',
  aes256Wrap: '2.16.840.1.101.3.4.1.45',
  ecdhSha256Kdf: '1.3.132.1.11.1',
  ecdhSha384Kdf: '1.3.132.1.11.2',
  cekHkdfSha256: '1.2.840.113549.1.9.16.3.31',
  oriKem: '1.2.840.113549.1.9.16.13.3',
} as const;

/** A content cipher as node:crypto names it. */
export interface ContentCipher {
  readonly name:
    | 'aes-128-cbc'
    | 'aes-192-cbc'
    | 'aes-256-cbc'
    | 'aes-128-gcm'
    | 'aes-192-gcm'
    | 'aes-256-gcm'
    | 'aes-128-ccm'
    | 'aes-192-ccm'
    | 'aes-256-ccm'
    | 'des-ede3-cbc'
    | 'rc2-cbc';
  readonly keyBytes: number;
  readonly isWeak?: true;
}

/** Ciphers of EnvelopedData: no integrity of their own. */
export const cbcCiphers: ReadonlyMap<string, ContentCipher> = new Map([
  [ID.aes128Cbc, { name: 'aes-128-cbc', keyBytes: 16 }],
  ['2.16.840.1.101.3.4.1.22', { name: 'aes-192-cbc', keyBytes: 24 }],
  [ID.aes256Cbc, { name: 'aes-256-cbc', keyBytes: 32 }],
]);

/** Ciphers of older mail, by what a policy calls them. Never written. RC2's key has the size of its effective bits. */
export const weakCiphers: ReadonlyMap<string, '3des' | 'rc2'> = new Map([
  ['1.2.840.113549.3.7', '3des'],
  ['1.2.840.113549.3.2', 'rc2'],
]);

/** Ciphers of AuthEnvelopedData (RFC 5084). */
export const gcmCiphers: ReadonlyMap<string, ContentCipher> = new Map([
  [ID.aes128Gcm, { name: 'aes-128-gcm', keyBytes: 16 }],
  ['2.16.840.1.101.3.4.1.26', { name: 'aes-192-gcm', keyBytes: 24 }],
  [ID.aes256Gcm, { name: 'aes-256-gcm', keyBytes: 32 }],
]);

/** Also of AuthEnvelopedData. Read only: no S/MIME agent is known to want it. */
export const ccmCiphers: ReadonlyMap<string, ContentCipher> = new Map([
  ['2.16.840.1.101.3.4.1.7', { name: 'aes-128-ccm', keyBytes: 16 }],
  ['2.16.840.1.101.3.4.1.27', { name: 'aes-192-ccm', keyBytes: 24 }],
  ['2.16.840.1.101.3.4.1.47', { name: 'aes-256-ccm', keyBytes: 32 }],
]);

export type DigestName = 'md5' | 'sha1' | 'sha224' | 'sha256' | 'sha384' | 'sha512' | 'shake256';

export const digests: ReadonlyMap<string, DigestName> = new Map([
  ['1.2.840.113549.2.5', 'md5'],
  ['1.3.14.3.2.26', 'sha1'],
  ['2.16.840.1.101.3.4.2.4', 'sha224'],
  [ID.sha256, 'sha256'],
  [ID.sha384, 'sha384'],
  [ID.sha512, 'sha512'],
  // With Ed448, 64 octets of it (RFC 8419 §2.3, RFC 8702 §3.1).
  ['2.16.840.1.101.3.4.2.12', 'shake256'],
]);

/** Digests for which two texts of one value can be made: a signature with them proves nothing any more. */
export const brokenDigests: ReadonlySet<DigestName> = new Set<DigestName>(['md5', 'sha1']);

/** `pure`: the algorithm takes the signed bytes themselves, and is one with the type of the key. */
export type SignatureScheme = 'rsa' | 'rsa-pss' | 'ecdsa' | 'pure';

/** A signature algorithm. Without `digest`, the SignerInfo's digest algorithm counts (RFC 3370 §3.2). */
export interface SignatureAlgorithm {
  readonly scheme: SignatureScheme;
  readonly digest?: DigestName;
  /** Of `pure`: as node:crypto names the key's type. */
  readonly keyType?: string;
}

export const signatureAlgorithms: ReadonlyMap<string, SignatureAlgorithm> = new Map<
  string,
  SignatureAlgorithm
>([
  [ID.rsaEncryption, { scheme: 'rsa' }],
  ['1.2.840.113549.1.1.4', { scheme: 'rsa', digest: 'md5' }],
  ['1.2.840.113549.1.1.5', { scheme: 'rsa', digest: 'sha1' }],
  ['1.2.840.113549.1.1.14', { scheme: 'rsa', digest: 'sha224' }],
  ['1.2.840.113549.1.1.11', { scheme: 'rsa', digest: 'sha256' }],
  ['1.2.840.113549.1.1.12', { scheme: 'rsa', digest: 'sha384' }],
  ['1.2.840.113549.1.1.13', { scheme: 'rsa', digest: 'sha512' }],
  [ID.rsaPss, { scheme: 'rsa-pss' }],
  // QUIRK: older software names the key's type instead of a signature algorithm (test: signer table).
  [ID.ecPublicKey, { scheme: 'ecdsa' }],
  ['1.2.840.10045.4.1', { scheme: 'ecdsa', digest: 'sha1' }],
  ['1.2.840.10045.4.3.1', { scheme: 'ecdsa', digest: 'sha224' }],
  [ID.ecdsaWithSha256, { scheme: 'ecdsa', digest: 'sha256' }],
  [ID.ecdsaWithSha384, { scheme: 'ecdsa', digest: 'sha384' }],
  [ID.ecdsaWithSha512, { scheme: 'ecdsa', digest: 'sha512' }],
  [ID.ed25519, { scheme: 'pure', keyType: 'ed25519' }],
  [ID.ed448, { scheme: 'pure', keyType: 'ed448' }],
  // RFC 9882 §3.
  ['2.16.840.1.101.3.4.3.17', { scheme: 'pure', keyType: 'ml-dsa-44' }],
  ['2.16.840.1.101.3.4.3.18', { scheme: 'pure', keyType: 'ml-dsa-65' }],
  ['2.16.840.1.101.3.4.3.19', { scheme: 'pure', keyType: 'ml-dsa-87' }],
]);

/** Key agreement schemes with the hash of their X9.63 KDF (RFC 5753 §7.1.4): stdDH, then cofactorDH. */
export const ecdhKdfs: ReadonlyMap<string, DigestName> = new Map<string, DigestName>([
  ['1.3.133.16.840.63.0.2', 'sha1'],
  ['1.3.132.1.11.0', 'sha224'],
  [ID.ecdhSha256Kdf, 'sha256'],
  [ID.ecdhSha384Kdf, 'sha384'],
  ['1.3.132.1.11.3', 'sha512'],
  // The curves read here have cofactor 1: both schemes give the same secret.
  ['1.3.133.16.840.63.0.3', 'sha1'],
  ['1.3.132.1.14.0', 'sha224'],
  ['1.3.132.1.14.1', 'sha256'],
  ['1.3.132.1.14.2', 'sha384'],
  ['1.3.132.1.14.3', 'sha512'],
]);

/** The same with HKDF (RFC 8418 §2.2), as made for X25519 and X448. */
export const hkdfSchemes: ReadonlyMap<string, DigestName> = new Map<string, DigestName>([
  ['1.2.840.113549.1.9.16.3.19', 'sha256'],
  ['1.2.840.113549.1.9.16.3.20', 'sha384'],
  ['1.2.840.113549.1.9.16.3.21', 'sha512'],
]);

export const TRIPLE_DES_WRAP = 'des3-wrap';

export interface KeyWrap {
  readonly name: 'aes128-wrap' | 'aes192-wrap' | 'aes256-wrap' | typeof TRIPLE_DES_WRAP;
  readonly keyBytes: 16 | 24 | 32;
  readonly isWeak?: true;
}

/** AES key wrap (RFC 3565 §2.3), and that of Triple-DES (RFC 3217), which is never written. */
export const keyWraps: ReadonlyMap<string, KeyWrap> = new Map<string, KeyWrap>([
  [ID.aes128Wrap, { name: 'aes128-wrap', keyBytes: 16 }],
  ['2.16.840.1.101.3.4.1.25', { name: 'aes192-wrap', keyBytes: 24 }],
  [ID.aes256Wrap, { name: 'aes256-wrap', keyBytes: 32 }],
  ['1.2.840.113549.1.9.16.3.6', { name: TRIPLE_DES_WRAP, keyBytes: 24, isWeak: true }],
]);
