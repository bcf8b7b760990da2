import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { handleSource, writeChunks, writeFully } from '../../../src/storage/files.ts';
import { bytesOf } from '../../support/mime.ts';

const bytes = randomBytes(6_000_000);

/** A handle that reads no more than `most` bytes a call, and counts the reads under way. */
function reader(most: number) {
  const state = { pending: 0 };
  const read = async (buffer: Uint8Array, offset: number, length: number, position: number) => {
    state.pending += 1;
    await new Promise((resolve) => void setImmediate(resolve));
    state.pending -= 1;
    const bytesRead = bytes.copy(buffer, offset, position, position + Math.min(length, most));
    return { bytesRead };
  };
  return { state, read };
}

test('a source reads any range, also where reads are short', async () => {
  for (const most of [bytes.length, 99_999]) {
    const source = handleSource(reader(most), bytes.length);
    assert.deepEqual(await bytesOf(source.open()), bytes);
    assert.deepEqual(await bytesOf(source.open({ start: 5, end: 700_000 })), bytes.subarray(5, 700_000));
    assert.deepEqual(await bytesOf(source.open({ start: bytes.length })), Buffer.alloc(0));
  }
});

test('who only looks gets the same bytes, in memory that is used again', async () => {
  const seen = createHash('sha256');
  const memory = new Set<ArrayBufferLike>();
  for await (const chunk of handleSource(reader(99_999), bytes.length).open({ start: 5 }, 'look')) {
    seen.update(chunk);
    memory.add(chunk.buffer);
  }
  assert.deepEqual(seen.digest(), createHash('sha256').update(bytes.subarray(5)).digest());
  assert(memory.size <= 3, `${memory.size} blocks`);
});

test('no read is under way once a reader has stopped', async () => {
  const { state, read } = reader(bytes.length);
  for await (const chunk of handleSource({ read }, bytes.length).open()) {
    assert.ok(chunk.length > 0);
    assert.ok(state.pending > 0);
    break;
  }
  assert.equal(state.pending, 0);
});

test('a file that became shorter throws', async () => {
  const source = handleSource(reader(bytes.length), bytes.length + 1);
  await assert.rejects(bytesOf(source.open()), /shorter/);
});

/** Writes that end later; the one with this number fails. */
function writer(failing: number) {
  const state = { pending: 0, most: 0, count: 0, written: [] as Uint8Array[] };
  const write = async (...pieces: readonly Uint8Array[]) => {
    state.pending += 1;
    state.most = Math.max(state.most, state.pending);
    await new Promise((resolve) => void setImmediate(resolve));
    state.pending -= 1;
    state.count += 1;
    if (state.count === failing) throw new Error('disk');
    state.written.push(...pieces);
  };
  return { state, write };
}

async function* pieces(failsAfter: number): AsyncGenerator<Uint8Array, void> {
  for (let count = 0; count < 10; count += 1) {
    if (count === failsAfter) throw new Error('stream');
    yield bytes.subarray(count * 600_000, (count + 1) * 600_000);
  }
}

test('pieces are written in order, one at a time', async () => {
  const { state, write } = writer(-1);
  await writeChunks({ write }, pieces(-1));
  assert.deepEqual(Buffer.concat(state.written), bytes);
  assert.equal(state.most, 1);
});

test('a write that fails is told, whichever it is, and nothing is written after it', async () => {
  for (const failing of [1, 2, 3, 4]) {
    const { state, write } = writer(failing);
    await assert.rejects(writeChunks({ write }, pieces(-1)), /disk/);
    assert.equal(state.count, failing);
    assert.equal(state.pending, 0);
  }
});

test('a stream that fails is told, with no write under way', async () => {
  for (const failing of [-1, 1]) {
    const { state, write } = writer(failing);
    await assert.rejects(writeChunks({ write }, pieces(1)), /stream/);
    assert.equal(state.pending, 0);
  }
});

test('a short write is continued, within pieces and between them', async () => {
  for (const most of [1, 5, 7, 100]) {
    const written: Uint8Array[] = [];
    const writev = async (pieces: readonly Uint8Array[]) => {
      const taken = Buffer.concat(pieces).subarray(0, most);
      written.push(taken);
      return { bytesWritten: taken.length };
    };
    await writeFully({ writev }, [
      Buffer.from('one'),
      Buffer.alloc(0),
      Buffer.from('two, three'),
      Buffer.from('.'),
    ]);
    assert.equal(Buffer.concat(written).toString(), 'onetwo, three.');
  }
});

test('small pieces are written together', async () => {
  const { state, write } = writer(-1);
  const small = async function* (): AsyncGenerator<Uint8Array, void> {
    for (let at = 0; at < bytes.length; at += 1_000) yield bytes.subarray(at, at + 1_000);
  };
  await writeChunks({ write }, small());
  assert.deepEqual(Buffer.concat(state.written), bytes);
  assert(state.count < 20, `${state.count} calls`);
});
