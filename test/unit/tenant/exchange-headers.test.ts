import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultLimits } from '../../../src/core/limits.ts';
import { parseHeaderSection, writeHeaderSection } from '../../../src/mime/header-section.ts';
import { hasRetainedHeaders, stripInbound, stripOutbound } from '../../../src/tenant/exchange-headers.ts';

/** Field, and whether it is there after stripping inbound and outbound. */
const fields: readonly [field: string, inbound: boolean, outbound: boolean][] = [
  ['Subject: [signed OK]', true, true],
  ['X-MS-Exchange-CrossPremises-AuthAs: Internal', false, false],
  ['x-ms-exchange-crosspremises-BCC: hidden@remote.example', false, false],
  ['X-MS-Exchange-Organization-SCL: -1', false, false],
  ['X-MS-EXCHANGE-ORGANIZATION-AuthAs:Internal', false, false],
  ['X-OrganizationHeadersPreserved: AM0PR00MB0000', false, false],
  ['X-Postern-Tenant-Auth: secret', false, false],
  ['x-postern-signature: valid', false, false],
  ['X-MS-Exchange-CrossTenant-Id: 11111111-2222-3333-4444-555555555555', false, true],
  ['X-MS-Exchange-Forest-RulesExecuted: x', false, true],
  ['X-OriginatorOrg: contoso.example', false, true],
  ['X-MS-Exchange-Transport-CrossTenantHeadersStamped: AM0', true, true],
  ['X-MS-Has-Attach:', true, true],
  ['X-Posternal: 1', true, true],
  ['X-OriginatorOrgX: 1', true, true],
  ['DKIM-Signature: v=1; a=rsa-sha256;\r\n\tb=abc  \r\n =', true, true],
];

for (const [direction, strip, column] of [
  ['inbound', stripInbound, 1],
  ['outbound', stripOutbound, 2],
] as const) {
  test(`T36, T37 strip ${direction}: listed fields go, all others keep bytes and order`, () => {
    const all = parseHeaderSection(
      Buffer.from(fields.map(([field]) => `${field}\r\n`).join('')),
      defaultLimits,
    );
    const expected = fields.filter((row) => row[column]).map(([field]) => `${field}\r\n`);
    assert.equal(writeHeaderSection(strip(all).fields).toString(), expected.join(''));
  });
}

for (const [field, isRetained] of [
  ['X-MS-Exchange-CrossPremises-AuthAs: Internal', true],
  ['x-organizationheaderspreserved: AM0', true],
  ['X-MS-Exchange-Organization-SCL: -1', false],
  ['X-MS-Exchange-CrossTenant-AuthAs: Internal', false],
] as const) {
  test(`retained: ${field}`, () => {
    const header = parseHeaderSection(Buffer.from(`Subject: x\r\n${field}\r\n`), defaultLimits);
    assert.equal(hasRetainedHeaders(header), isRetained);
  });
}

test('a repeated or folded field goes in every occurrence', () => {
  const text = 'X-Postern-A: 1\r\n 2\r\nSubject: x\r\nx-postern-a: 3\r\n';
  const stripped = stripInbound(parseHeaderSection(Buffer.from(text), defaultLimits));
  assert.equal(writeHeaderSection(stripped.fields).toString(), 'Subject: x\r\n');
});
