// What a message already is, by its structure. Labels are a hint; for CMS the parsed content type decides.

export type CmsContent = 'enveloped' | 'auth-enveloped' | 'signed' | 'compressed' | 'other';

export type Shape =
  /**
   * `compressed`: CompressedData of CMS, which protects nothing. `labelled`: says that it is encrypted with OpenPGP, and is
   * not, or not whole.
   */
  | { readonly kind: 'plain'; readonly cms?: 'compressed'; readonly labelled?: 'pgp' }
  | { readonly kind: 'encrypted'; readonly format: 'smime'; readonly cms: 'enveloped' | 'auth-enveloped' }
  | { readonly kind: 'encrypted'; readonly format: 'pgp' }
  | {
      readonly kind: 'signed';
      readonly format: 'smime';
      readonly form: 'detached' | 'opaque';
      readonly covers?: 'encrypted';
      /** Says that it is signed, and no signature is there. */
      readonly isLabelOnly?: true;
    }
  | {
      readonly kind: 'signed';
      readonly format: 'pgp';
      readonly form: 'detached';
      readonly isLabelOnly?: true;
    };
