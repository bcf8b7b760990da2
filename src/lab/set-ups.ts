// The right set-up between a gateway and Exchange Online, and six wrong ones that operators build, each run over real SMTP
// and TLS: with a real Postern where it can be made to do it, and with the lab's own client where Postern refuses.
import { openLabGateway } from './lab-gateway.ts';
import type { OwnTenant } from './lab-tenants.ts';
import { sampleMessage } from './messages.ts';
import {
  attributionRow,
  certificateNameOf,
  openSetUpLab,
  placeOf,
  type SetUpRow,
  type SetUpStage,
} from './set-up-rows.ts';
import {
  runCertificateOnInternetLeg,
  runForeignSender,
  runMissingIntermediate,
  runRestriction,
  runRetainedHeaders,
  runSharedCertificate,
} from './set-ups-wrong.ts';

export type SetUpName = 'right' | 'wrong-1' | 'wrong-2' | 'wrong-3' | 'wrong-4' | 'wrong-5' | 'wrong-6';

export interface SetUpReport {
  readonly name: SetUpName;
  readonly title: string;
  readonly rows: readonly SetUpRow[];
  /** Every row went as described. */
  readonly isAsDescribed: boolean;
}

interface SetUp {
  readonly title: string;
  run(own: OwnTenant | undefined): Promise<readonly SetUpRow[]>;
}

const SET_UPS: Readonly<Record<SetUpName, SetUp>> = {
  right: {
    title: 'each tenant leg shows its tenant’s certificate, the Internet leg shows none',
    run: runRight,
  },
  'wrong-1': { title: 'a tenant’s certificate on the Internet leg', run: runCertificateOnInternetLeg },
  'wrong-2': { title: 'one certificate for two tenants', run: runSharedCertificate },
  'wrong-3': {
    title: 'on-premises connector, foreign sender, domain of the certificate not accepted',
    run: runForeignSender,
  },
  'wrong-4': { title: 'the intermediate certificate is not sent', run: runMissingIntermediate },
  'wrong-5': { title: 'partner connector, and not the certificate that it names', run: runRestriction },
  'wrong-6': {
    title: 'CloudServicesMailEnabled on the inbound connector, and a forged CrossPremises-AuthAs',
    run: runRetainedHeaders,
  },
};

export const setUpNames = Object.keys(SET_UPS) as readonly SetUpName[];

/** Runs one of them in a lab of its own, for contoso or an operator's tenant in its place. */
export async function runSetUp(name: SetUpName, own?: OwnTenant): Promise<SetUpReport> {
  const setUp = SET_UPS[name];
  const played = await setUp.run(own);
  // To an operator, contoso is somebody else.
  const rows = own
    ? played.map((row) => ({ ...row, attributed: row.attributed.replace('contoso', 'own tenant') }))
    : played;
  return { name, title: setUp.title, rows, isAsDescribed: rows.every(({ isExpected }) => isExpected) };
}

async function runRight(own: OwnTenant | undefined): Promise<readonly SetUpRow[]> {
  await using stage = await openSetUpLab(own);
  const { lab, people, stack } = stage;
  stack.use(await openLabGateway(lab));
  const { contoso, fabrikam } = lab.tenants;
  const rows: SetUpRow[] = [];
  const fromOwn = (to: string) =>
    lab.transport.send(contoso, { from: people.own, to: [to], message: sample(people.own, to) });
  await fromOwn(people.stranger);
  rows.push(
    await seen(stage, 0, 'own tenant to a stranger in Office 365', 'partner', people.stranger, 'none'),
  );
  await fromOwn(people.hosted);
  const second = certificateNameOf(fabrikam);
  rows.push(await seen(stage, 1, 'own tenant to another hosted tenant', 'fabrikam', people.hosted, second));
  await lab.sendFromInternet({
    sender: people.outside,
    recipients: [people.own],
    message: sample(people.outside, people.own),
  });
  const first = certificateNameOf(contoso);
  rows.push(await seen(stage, 2, 'Internet to the own tenant', 'contoso', people.own, first));
  const isQuiet = lab.exchange.loopsDetected() === 0 && lab.exchange.directInternet().length === 0;
  return rows.map((row) => ({ ...row, isExpected: row.isExpected && isQuiet }));
}

function sample(from: string, to: string) {
  return sampleMessage('plain', { from, to: [to] });
}

/** The row of the attribution with this number, once the message is in the mailbox. */
async function seen(
  { lab }: SetUpStage,
  index: number,
  mail: string,
  tenant: string,
  to: string,
  certificate: string,
): Promise<SetUpRow> {
  const attribution = (await lab.exchange.waitForAttribution(index + 1))[index];
  if (!attribution) throw new Error('no attribution');
  if (attribution.reply === '250') await lab.exchange.waitForMessage(tenant, 1);
  const row = attributionRow('Postern', mail, attribution, attribution.reply, placeOf(lab, to), {
    attributed: `incoming ${tenant}`,
    answer: /^250$/,
    outcome: 'delivered, external',
  });
  return { ...row, isExpected: row.isExpected && row.certificate === certificate };
}
