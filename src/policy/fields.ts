// Kinds of values that a policy file holds, each with the words for what is wrong.
import { z } from 'zod';
import { parseDomain } from '../core/address.ts';

/** Runs a check of an object also where single fields of it are wrong, so that all problems show at once. */
export const whole = { when: ({ value }: { value: unknown }) => typeof value === 'object' && value !== null };

type Check = (value: string) => string | undefined;

/** A non-empty text with a check that answers with what is wrong. */
export function text(check: Check = () => undefined): z.ZodString {
  return z
    .string()
    .min(1)
    .superRefine((value, context) => {
      const message = value === '' ? undefined : check(value);
      if (message !== undefined) context.addIssue({ code: 'custom', message });
    });
}

export const file = text((value) => (/[\0\r\n]/.test(value) ? 'a file name has no line ends' : undefined));
export const domain = text((value) =>
  parseDomain(value) === undefined
    ? 'is not a domain name; write it like contoso.example, without "*" or "@"'
    : undefined,
);
/** A certificate policy. anyPolicy would ask for nothing in particular. */
export const certificatePolicy = text((value) =>
  !/^(?:[01]\.[1-3]?\d|2\.(?:0|[1-9]\d*))(?:\.(?:0|[1-9]\d*))+$/.test(value) || value.length > 128
    ? 'is not an object identifier; write the policy like 1.3.6.1.4.1.99999.1, in quotes'
    : value === '2.5.29.32.0'
      ? 'is anyPolicy, which stands for no policy of its own; name the policies that you accept'
      : undefined,
);
// SECURITY: the message never repeats the value: it may be the password itself (test: password-not-echoed).
export const referenceTo = (what: string) =>
  text((value) =>
    /^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$/.test(value)
      ? undefined
      : `a ${what} is never written into the policy; write env:NAME or file:path`,
  ).describe(`Where the ${what} is read from: env:NAME or file:path`);
export const passwordReference = referenceTo('password');
