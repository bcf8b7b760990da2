// Which certificates a tenant trusts, for one message: what its policy says, with the network checks that the message may
// cause. The checks of one message share one budget, however many copies it becomes.
import type { TrustSettings } from '../smime/chain.ts';
import type { OnlineServices } from '../smime/online.ts';
import type { LoadedPolicy } from './policy-set.ts';

export type TrustOf = (loaded: LoadedPolicy) => TrustSettings;

/** For one message. Without services nobody is asked, whatever a policy says: commands on files work so. */
export function trustForMessage(services?: OnlineServices): TrustOf {
  const known = new Map<LoadedPolicy, TrustSettings>();
  return (loaded) => {
    const trust = known.get(loaded) ?? settingsOf(loaded, services);
    known.set(loaded, trust);
    return trust;
  };
}

function settingsOf(
  { anchors, intermediates, policy }: LoadedPolicy,
  services?: OnlineServices,
): TrustSettings {
  const { countsSubjectAddresses, revocation, fetchesIssuers } = policy.trust;
  const online = services?.forMessage({ revocation, fetchesIssuers });
  return { anchors, intermediates, countsSubjectAddresses, ...(online && { online }) };
}
