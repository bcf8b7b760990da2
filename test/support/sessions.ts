// Sessions of the proof, from a tenant's mailbox to an Internet one: what is sent, how, and what becomes of it.
import assert from 'node:assert/strict';
import type { TenantMail } from '../../src/lab/exchange-client.ts';
import type { SendOptions } from '../../src/lab/lab-senders.ts';
import type { TenantName } from '../../src/lab/lab-tenants.ts';
import { sampleMessage, type SampleName } from '../../src/lab/messages.ts';
import type { Person } from '../../src/lab/people.ts';
import type { Lab } from '../../src/lab/world.ts';

const ENCRYPTED = /^Content-Type: application\/pkcs7-mime; smime-type=enveloped-data/m;

export interface Session {
  readonly name: string;
  readonly tenant?: TenantName;
  readonly from?: string;
  /** The From field, where it is not the mailbox. */
  readonly author?: string;
  readonly body?: SampleName;
  readonly mail?: Partial<TenantMail>;
  readonly how?: SendOptions;
  /** `encrypted` or `as it is`: what bob gets. Else the reply. */
  readonly expect: 'encrypted' | 'as it is' | RegExp;
}

/** Sends sessions of a lab whose gateway knows the keys of these two, and looks at what bob gets. */
export function sessionsOf(lab: Lab, user: Person, bob: Person) {
  async function send(session: Session) {
    const { tenant = 'contoso', from = user.address, author = from, body = 'plain', mail } = session;
    const message = sampleMessage(body, { from: author, to: [bob.address], subject: session.name });
    const given = { from, to: [bob.address], message, ...mail };
    return lab.sendFromTenant(tenant, given, session.how);
  }

  async function check(session: Session): Promise<void> {
    const before = lab.internet.messages().length;
    const { recipients } = await send(session);
    const [reply] = recipients;
    assert.ok(reply);
    if (session.expect instanceof RegExp) {
      assert.match(`${reply.code} ${reply.text}`, session.expect);
      assert.equal(lab.internet.messages().length, before);
      return;
    }
    assert.equal(reply.code, 250, reply.text);
    const arrived = (await lab.internet.waitForMessage(before + 1)).slice(before);
    assert.equal(arrived.length, 1);
    const [{ bytes, tls } = assert.fail()] = arrived;
    assert.equal(ENCRYPTED.test(bytes.toString('latin1')), session.expect === 'encrypted');
    assert.deepEqual(tls?.presentedNames, [], 'no client certificate towards the Internet');
    // The secret is on no message that leaves, in no field and nowhere else.
    assert.ok(!bytes.includes(lab.secrets.contoso));
    assert.doesNotMatch(bytes.toString('latin1'), /^X-Postern-/im);
  }
  return { send, check };
}
