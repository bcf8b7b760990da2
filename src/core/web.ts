// Requests to web servers that others chose, as the rest of the gateway asks for them. Who makes them is web/'s business.

/** One request. The address comes from a certificate, so it may be anything. */
export interface WebRequest {
  readonly url: string;
  /** Sent by POST; without it the request is a GET. */
  readonly body?: { readonly type: string; readonly bytes: Uint8Array };
  readonly maxBytes: number;
}

/** `failed`: in plain words; nothing in it comes from the server. */
export type WebAnswer =
  { readonly kind: 'answer'; readonly bytes: Buffer } | { readonly kind: 'failed'; readonly reason: string };

/** Never rejects. */
export type WebFetch = (request: WebRequest, signal: AbortSignal) => Promise<WebAnswer>;
