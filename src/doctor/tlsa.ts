// TLSA records of the gateway (RFC 7672): one that does not match its certificate stops mail of every sender that checks.
import { createHash, type X509Certificate } from 'node:crypto';
import { fail, type Finding, ok, warn } from './check.ts';
import type { Lookup, TlsaRecord } from './names.ts';

const DANE_TA = 2;
const DANE_EE = 3;

/** `chain`: the certificates that the listener sends, its own first. */
export function judgeTlsa(lookup: Lookup<TlsaRecord>, chain: readonly X509Certificate[]): Finding {
  if (lookup.kind === 'failed')
    return warn(
      `no answer from DNS (${lookup.reason})`,
      'Senders that check DANE wait where this answer fails; look at the name servers of the domain.',
    );
  if (lookup.kind === 'none') return ok('no TLSA record');
  const { records } = lookup;
  const usable = records.filter(({ certUsage }) => certUsage === DANE_EE || certUsage === DANE_TA);
  const [leaf] = chain;
  const advice = leaf
    ? `Publish 3 1 1 ${digestOf(leaf)}, keep the old record beside it until the TTL has passed, or take the TLSA records away. Until then senders that check DANE, Exchange Online among them, hold mail back and return it after a day.`
    : '';
  if (usable.length === 0)
    return warn(`${records.length} TLSA records of a usage that mail does not use (0, 1)`, advice);
  const matching = usable.filter((record) =>
    chain.some((certificate, index) => isMatch(record, certificate, index)),
  );
  if (matching.length === 0)
    return fail(`none of ${usable.length} TLSA records matches the listener's certificate`, advice);
  return ok(`${matching.length} of ${usable.length} TLSA records match the certificate`);
}

function isMatch(
  { certUsage, selector, match, data }: TlsaRecord,
  certificate: X509Certificate,
  index: number,
): boolean {
  if (certUsage === DANE_EE && index > 0) return false;
  const subject = selector === 1 ? spkiOf(certificate) : certificate.raw;
  const expected =
    match === 0
      ? subject
      : createHash(match === 2 ? 'sha512' : 'sha256')
          .update(subject)
          .digest();
  return expected.equals(data);
}

/** For a record `3 1 1`. */
function digestOf(certificate: X509Certificate): string {
  return createHash('sha256').update(spkiOf(certificate)).digest('hex');
}

function spkiOf(certificate: X509Certificate): Buffer {
  return certificate.publicKey.export({ type: 'spki', format: 'der' });
}
