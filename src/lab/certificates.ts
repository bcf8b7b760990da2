// The public key infrastructure of the lab: a CA that everybody trusts, a rogue one with the same names, and the
// certificates of Exchange Online, of the gateway, of its legs to the tenants and of Internet hosts.
import { createTestCa, type TestCa, type TestCertificateRequest, type TestIdentity } from './ca.ts';

/** A key and the chain that goes with it: what a TLS side is configured with. PEM. */
export interface TlsIdentity {
  readonly key: string;
  /** Leaf first, then the intermediate; no root. */
  readonly cert: string;
  /** The leaf alone: what a client sends that forgot its intermediate. */
  readonly leafOnly: string;
}

export interface LabAuthority {
  /** Root, PEM: the trust anchor. */
  readonly rootPem: string;
  readonly intermediatePem: string;
  issue(request: TestCertificateRequest): Promise<TlsIdentity>;
}

/** A root with one intermediate that issues everything. */
export async function openAuthority(name: string): Promise<LabAuthority> {
  const root = await createTestCa(`${name} root`);
  const intermediate = await root.issueCa({
    commonName: `${name} intermediate`,
    keyType: 'p256',
    pathLength: 0,
  });
  return {
    rootPem: root.certificatePem,
    intermediatePem: intermediate.certificatePem,
    issue: async (request) => {
      const identity = await intermediate.issue({
        keyType: 'p256',
        keyUsage: ['digitalSignature'],
        ...request,
      });
      return asTlsIdentity(identity, intermediate);
    },
  };
}

/** For both sides of TLS, as public CAs issued until 2026. */
export function serverAndClient(name: string, ...more: readonly string[]): TestCertificateRequest {
  return { commonName: name, dnsNames: [name, ...more], extendedKeyUsage: ['serverAuth', 'clientAuth'] };
}

function asTlsIdentity(leaf: TestIdentity, intermediate: TestCa): TlsIdentity {
  return {
    key: leaf.keyPem,
    cert: leaf.certificatePem + intermediate.certificatePem,
    leafOnly: leaf.certificatePem,
  };
}
