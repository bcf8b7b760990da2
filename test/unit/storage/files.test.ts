import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { handleSource, writeChunks } from '../../../src/storage/files.ts';
import { bytesOf } from '../../support/mime.ts';

const bytes = randomBytes(1_000_000);

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
  const many = randomBytes(3_000_000);
  const read = async (buffer: Uint8Array, offset: number, length: number, position: number) => {
    await new Promise((resolve) => void setImmediate(resolve));
    return { bytesRead: many.copy(buffer, offset, position, position + Math.min(length, 99_999)) };
  };
  const seen = createHash('sha256');
  const memory = new Set<ArrayBufferLike>();
  let count = 0;
  for await (const chunk of handleSource({ read }, many.length).open({ start: 5 }, 'look')) {
    seen.update(chunk);
    memory.add(chunk.buffer);
    count += 1;
  }
  assert.deepEqual(seen.digest(), createHash('sha256').update(many.subarray(5)).digest());
  assert(memory.size < count, `${memory.size} blocks for ${count} chunks`);
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
  const write = async (piece: Uint8Array) => {
    state.pending += 1;
    state.most = Math.max(state.most, state.pending);
    await new Promise((resolve) => void setImmediate(resolve));
    state.pending -= 1;
    state.count += 1;
    if (state.count === failing) throw new Error('disk');
    state.written.push(piece);
  };
  return { state, write };
}

async function* pieces(failsAfter: number): AsyncGenerator<Uint8Array, void> {
  for (let count = 0; count < 10; count += 1) {
    if (count === failsAfter) throw new Error('stream');
    yield bytes.subarray(count * 100_000, (count + 1) * 100_000);
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
