// The on-premises servers of a policy with the files that they name: pinned certificates, the password of a login.
import { X509Certificate } from 'node:crypto';
import { GatewayError } from '../core/errors.ts';
import { readKeyFile, readPassword } from '../keys/key-files.ts';
import type { FileEntry, OnPremisesServers, Problem } from '../policy/schema.ts';
import { parseRanges } from '../tenant/address-ranges.ts';
import type { OnPremises } from '../tenant/on-premises.ts';

/** Reads the files. Each problem stands at the entry that has it. */
export async function readOnPremises(
  { networks, certificates, login, position }: OnPremisesServers,
  folder: string,
): Promise<{ readonly onPremises?: OnPremises; readonly problems: readonly Problem[] }> {
  const problems: Problem[] = [];
  const read = async <T>({ path, position: at }: FileEntry, what: string, action: () => Promise<T>) => {
    try {
      return await action();
    } catch (error) {
      const reason = error instanceof GatewayError ? error.message : `${path} is not one certificate in PEM`;
      problems.push({ ...at, message: `${what}: ${reason}` });
      return undefined;
    }
  };
  const pinned = await Promise.all(
    certificates.map((entry) =>
      read(entry, 'on-premises certificate', async () => {
        const { bytes } = await readKeyFile(folder, entry.path);
        return new X509Certificate(bytes).fingerprint256;
      }),
    ),
  );
  const password =
    login &&
    (await read(login.password, 'on-premises password', () =>
      readPassword(login.password.path, folder, process.env),
    ));
  const parsed = parseRanges(networks.join('\n'));
  if ('reason' in parsed) problems.push({ ...position, message: `networks: ${parsed.reason}` });
  if (problems.length > 0 || 'reason' in parsed) return { problems };
  return {
    onPremises: {
      networks: parsed.ranges,
      fingerprints: pinned.filter((fingerprint) => fingerprint !== undefined),
      ...(login && password ? { login: { user: login.user, password } } : {}),
    },
    problems,
  };
}
