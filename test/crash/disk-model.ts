// A disk that can lose power: it records what is done to it, and lists what it may hold after a cut at any moment. What
// was synced is there; of the rest each name may be there or not, and of each file's bytes none, half, all, or zeros.
import type { Files, NewFile } from '../../src/storage/files.ts';

interface Inode {
  readonly bytes: Buffer;
  readonly syncedBytes: number;
}

type NameChange = (names: Map<string, number>) => void;

/** A moment: durable names, changes of names that may not be durable, and the files by number. */
interface Moment {
  readonly names: ReadonlyMap<string, number>;
  readonly pending: readonly NameChange[];
  readonly inodes: readonly Inode[];
}

/** Content by path. */
export type DiskState = ReadonlyMap<string, Buffer>;

export class ModelDisk implements Files {
  /** One per operation, so that a crash can be between any two of them. */
  readonly moments: Moment[] = [];
  #names = new Map<string, number>();
  /** As a running system sees it. */
  #visible = new Map<string, number>();
  #pending: NameChange[] = [];
  #inodes: Inode[] = [];

  /** A disk that holds these files, durably. */
  constructor(files: DiskState = new Map()) {
    for (const [path, bytes] of files) {
      this.#names.set(path, this.#inodes.length);
      this.#inodes.push({ bytes, syncedBytes: bytes.length });
    }
    this.#visible = new Map(this.#names);
    this.#record();
  }

  async create(path: string): Promise<NewFile> {
    const inode = this.#inodes.length;
    this.#inodes.push({ bytes: Buffer.alloc(0), syncedBytes: 0 });
    this.#change((names) => void names.set(path, inode));
    return {
      write: async (...pieces) => {
        const before = this.#inodes[inode] ?? { bytes: Buffer.alloc(0), syncedBytes: 0 };
        this.#replace(inode, { ...before, bytes: Buffer.concat([before.bytes, ...pieces]) });
      },
      sync: async () => {
        const { bytes } = this.#inodes[inode] ?? { bytes: Buffer.alloc(0) };
        this.#replace(inode, { bytes, syncedBytes: bytes.length });
      },
      close: async () => undefined,
    };
  }

  async rename(from: string, to: string): Promise<void> {
    const inode = this.#visible.get(from);
    if (inode === undefined) throw new Error(`no file ${from}`);
    this.#change((names) => {
      names.delete(from);
      names.set(to, inode);
    });
  }

  async unlink(path: string): Promise<void> {
    this.#change((names) => void names.delete(path));
  }

  async syncFolder(): Promise<void> {
    this.#names = new Map(this.#visible);
    this.#pending = [];
    this.#record();
  }

  async list(): Promise<readonly string[]> {
    return [...this.#visible.keys()];
  }

  #change(change: NameChange): void {
    change(this.#visible);
    this.#pending = [...this.#pending, change];
    this.#record();
  }

  #replace(inode: number, content: Inode): void {
    this.#inodes = this.#inodes.with(inode, content);
    this.#record();
  }

  #record(): void {
    this.moments.push({ names: new Map(this.#names), pending: this.#pending, inodes: [...this.#inodes] });
  }
}

/** Everything that the disk may hold where the power is cut at this moment. */
export function statesAfterCut({ names, pending, inodes }: Moment): readonly DiskState[] {
  const states: DiskState[] = [];
  for (let chosen = 0; chosen < 1 << pending.length; chosen += 1) {
    const kept = new Map(names);
    for (const [index, change] of pending.entries()) if ((chosen >> index) & 1) change(kept);
    let contents: Map<string, Buffer>[] = [new Map()];
    for (const [path, inode] of kept) {
      const variants = contentsAfterCut(inodes[inode] ?? { bytes: Buffer.alloc(0), syncedBytes: 0 });
      contents = contents.flatMap((state) => variants.map((bytes) => new Map(state).set(path, bytes)));
    }
    states.push(...contents);
  }
  return states;
}

function contentsAfterCut({ bytes, syncedBytes }: Inode): readonly Buffer[] {
  if (syncedBytes === bytes.length) return [bytes];
  const synced = bytes.subarray(0, syncedBytes);
  const rest = bytes.subarray(syncedBytes);
  return [
    synced,
    Buffer.concat([synced, rest.subarray(0, rest.length >> 1)]),
    bytes,
    Buffer.concat([synced, Buffer.alloc(rest.length)]),
  ];
}
