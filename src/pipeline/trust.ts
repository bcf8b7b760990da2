// Which certificates a tenant trusts, for one message: what its policy says, with the network checks that the message may
// cause. The checks of one message share one budget, however many copies it becomes.
import { type Log, silentLog } from '../core/log.ts';
import type { TrustSettings } from '../smime/chain.ts';
import type { OnlineChecks, OnlineServices } from '../smime/online.ts';
import type { LoadedPolicy } from './policy-set.ts';

export type TrustOf = (loaded: LoadedPolicy) => TrustSettings;

/** For one message. Without services nobody is asked, whatever a policy says: commands on files work so. */
export function trustForMessage(services?: OnlineServices, log: Log = silentLog): TrustOf {
  const known = new Map<LoadedPolicy, TrustSettings>();
  return (loaded) => {
    const trust = known.get(loaded) ?? settingsOf(loaded, services, log);
    known.set(loaded, trust);
    return trust;
  };
}

function settingsOf(
  { anchors, intermediates, policy }: LoadedPolicy,
  services: OnlineServices | undefined,
  log: Log,
): TrustSettings {
  const { countsSubjectAddresses, certificatePolicies, revocation, fetchesIssuers } = policy.trust;
  const online = logged(services?.forMessage({ revocation, fetchesIssuers }), log);
  return {
    anchors,
    intermediates,
    countsSubjectAddresses,
    ...(certificatePolicies.length > 0 && {
      policies: { acceptable: certificatePolicies, isExplicitRequired: true },
    }),
    ...(online && { online }),
  };
}

/** What is not good is told to the operator: which certificate, and why. */
function logged(online: OnlineChecks | undefined, log: Log): OnlineChecks | undefined {
  const { revocation } = online ?? {};
  if (!revocation) return online;
  return {
    ...online,
    revocation: {
      ...revocation,
      check: async (chain, at, known) => {
        const found = await revocation.check(chain, at, known);
        const { state, reason } = found;
        if (state !== 'good')
          log.info('revocation', { key: `smime:${chain[0]?.fingerprint}`, state, reason });
        return found;
      },
    },
  };
}
