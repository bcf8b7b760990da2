// Header fields that must not cross the gateway: Exchange's organisation headers, which give privilege inside a tenant
// and leak outside of it, and our own marks, which only we may set. Other fields keep their bytes and their order.
import type { HeaderField, HeaderSection } from '../mime/header-section.ts';

interface StripList {
  readonly prefixes: readonly string[];
  readonly names: readonly string[];
}

const retained: StripList = {
  prefixes: ['x-ms-exchange-crosspremises-'],
  names: ['x-organizationheaderspreserved'],
};

const outbound: StripList = {
  prefixes: [...retained.prefixes, 'x-ms-exchange-organization-', 'x-postern-'],
  names: retained.names,
};

// SECURITY: a tenant that promotes CrossPremises fields would take Internet mail for its own (test: T37).
const inbound: StripList = {
  prefixes: [...outbound.prefixes, 'x-ms-exchange-crosstenant-', 'x-ms-exchange-forest-'],
  names: [...outbound.names, 'x-originatororg'],
};

/** Mail for a tenant, whoever sent it. */
export function stripInbound(header: HeaderSection): HeaderSection {
  return strip(header, inbound);
}

/** Mail that leaves a tenant. CrossTenant fields stay: they are no secret and give nothing outside. */
export function stripOutbound(header: HeaderSection): HeaderSection {
  return strip(header, outbound);
}

/** DKIM and ARC of a message whose body changes: they would only fail, and ARC sets go together or not at all (RFC 8617 §5.1). */
export function dropSignatures(header: HeaderSection): HeaderSection {
  return strip(header, { prefixes: ['arc-'], names: ['dkim-signature'] });
}

/**
 * Whether a connector with CloudServicesMailEnabled left the tenant's organisation headers on the message: they are no use
 * here, and leak wherever mail goes around the gateway.
 */
export function hasRetainedHeaders(header: HeaderSection): boolean {
  return header.fields.some((field) => isListed(field, retained));
}

function strip(header: HeaderSection, list: StripList): HeaderSection {
  return { fields: header.fields.filter((field) => !isListed(field, list)) };
}

function isListed(field: HeaderField, { prefixes, names }: StripList): boolean {
  const name = field.name.toLowerCase();
  return names.includes(name) || prefixes.some((prefix) => name.startsWith(prefix));
}
