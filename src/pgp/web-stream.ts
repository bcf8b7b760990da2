// Between our byte streams and the web streams of the OpenPGP library.
import { ReadableStream } from 'node:stream/web';
import { setImmediate } from 'node:timers/promises';
import type { Chunks } from '../core/bytes.ts';

/** A stream for the library, and what went wrong on our side of it: the library may hide or wrap that error. */
export interface WatchedStream {
  readonly stream: ReadableStream<Uint8Array>;
  /** Rethrows the error of the source, if it had one. */
  check(): void;
  /** Whether the source was read to its end. */
  isRead(): boolean;
}

/** The library passes chunks on in microtasks: without a pause no timer runs until a large message is done. */
const PAUSE_BYTES = 2 * 1024 * 1024;

/** Opens `chunks` for the library. Nothing is read before the library asks. */
export function openWebStream(chunks: Chunks): WatchedStream {
  const iterator = chunks[Symbol.asyncIterator]();
  let failure: { readonly error: unknown } | undefined;
  let untilPause = PAUSE_BYTES;
  let isRead = false;
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const next = await iterator.next();
          if (next.done) {
            isRead = true;
            controller.close();
            return;
          }
          untilPause -= next.value.length;
          if (untilPause < 0) {
            untilPause = PAUSE_BYTES;
            await setImmediate();
          }
          controller.enqueue(next.value);
        } catch (error) {
          failure = { error };
          controller.error(error);
        }
      },
      async cancel() {
        await iterator.return?.();
      },
    },
    { highWaterMark: 0 },
  );
  return {
    stream,
    check() {
      if (failure) throw failure.error;
    },
    isRead: () => isRead,
  };
}

/**
 * The chunks of a stream from the library. QUIRK: a stream that it cloned inside can be read by `getReader` only, which it
 * replaces on the object; `for await` would meet the locked original.
 */
export async function* readWebStream(stream: {
  getReader(): {
    read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
    cancel(): Promise<void>;
  };
}): AsyncGenerator<Uint8Array, void> {
  const reader = stream.getReader();
  let isRead = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done || !value) break;
      yield value;
    }
    isRead = true;
  } finally {
    // Not awaited: a cloned stream ends only once every clone was cancelled.
    if (!isRead) reader.cancel().catch(() => undefined);
  }
}
