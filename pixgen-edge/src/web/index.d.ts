/** What `load` takes. */
export interface LoadOptions {
  /** The bytes of a .pxg file, not its name; by default model.pxg of this package. */
  file?: ArrayBufferView | ArrayBufferLike;
  /** Which engine draws; by default the one with SIMD where the runtime has it. Both draw the same bytes. */
  simd?: boolean;
}

/** An open model. Drawing blocks its thread for some milliseconds: call it from a worker if that matters. */
export class Model {
  private constructor();
  /** Opens a model with an engine of your own choice, in place of `load`. */
  static open(engine: WebAssembly.Module, file: ArrayBufferView | ArrayBufferLike): Promise<Model>;
  /** Pixels in a row, and rows. */
  readonly size: number;
  /** Bytes of a pixel: 1 (grey) or 3 (RGB). */
  readonly channels: 1 | 3;
  /** Names of the classes, or their numbers where they have none. */
  readonly classes: readonly string[];
  /**
   * Draws a picture: bytes, row by row. The same class, seed and number make the same picture everywhere.
   *
   * @param label class, from 0
   * @param seed of the noise, a whole number from 0 to 2^64 - 1; 0 by default
   * @param number of the picture among those of the seed; 0 by default
   * @throws RangeError for a class that there is not, and for other numbers
   * @throws TypeError for what is no number
   */
  draw(label: number, seed?: number | bigint, number?: number | bigint): Uint8Array;
}

/** Opens a model. Rejects where a file cannot be read or is not a .pxg file. */
export function load(options?: LoadOptions): Promise<Model>;

/** Whether the runtime has WebAssembly with SIMD. */
export function hasSimd(): boolean;

/**
 * The bytes of a picture as RGBA, for `new ImageData(toRgba(bytes, model.channels), model.size)`: a Uint8ClampedArray, written so that
 * TypeScript before and after 5.7 takes it.
 */
export function toRgba(bytes: Uint8Array, channels: 1 | 3): ReturnType<Uint8ClampedArrayConstructor['from']>;
