// A cuBLASLt that computes on the host, for the stub driver, whose device memory is the host's: what Pixgen asks for is computed as
// NVIDIA's documentation says, matrices in columns, and what the documentation forbids is refused. It proves shapes, layouts, leading
// dimensions, epilogues and order of submission in numbers. It says nothing about NVIDIA's kernels, and nothing about their speed.
//
//   cc -O3 -shared -fPIC -o libcublasLt.so.12 stub_cublaslt.c
//
// Environment:
//   CUBLAS_STUB_FAIL   FUNCTION:STATUS[:AFTER]: this function returns this status, from its call number AFTER on
//   CUBLAS_STUB_WRONG  1: results are 1 too large
//   CUBLAS_STUB_LOG    file that receives a line for each product
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, ALLOC_FAILED = 3, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum { F32 = 0, BF16 = 14 };
enum { COMPUTE_F32 = 68, COMPUTE_TF32 = 77 };
enum { NO_EPILOGUE = 1, BIAS = 4, BGRADB = 512 };
enum { WORKSPACE = 1 << 20 };

typedef struct {
  int type;
  uint64_t rows, columns;
  int64_t ld;
} Layout;

typedef struct {
  int compute, scale, transposed[2], epilogue;
  uint64_t vector;
} Description;

typedef struct {
  uint64_t workspace;
  uint32_t reductions, alignments[4];
} Preference;

// What an algorithm relies on, in the 64 bytes that the caller keeps.
typedef struct {
  uint64_t magic;
  uint32_t alignments[4];
} Algorithm;

typedef struct {
  uint64_t algorithm[8];
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
} Heuristic;

// Whether the environment wants this call to fail, and how.
static int failure(const char *function) {
  static __thread int calls;
  const char *wanted = getenv("CUBLAS_STUB_FAIL");
  size_t length = strlen(function);
  if (!wanted || strncmp(wanted, function, length) || wanted[length] != ':') return SUCCESS;
  int status = 0, after = 0;
  sscanf(wanted + length, ":%d:%d", &status, &after);
  return ++calls > after ? status : SUCCESS;
}

#define ANSWER(function)                      \
  do {                                        \
    int status = failure(function);           \
    if (status) return status;                \
  } while (0)

size_t cublasLtGetVersion(void) { return 120903; }

int cublasLtCreate(void **handle) {
  ANSWER("cublasLtCreate");
  static char it;
  *handle = &it;
  return SUCCESS;
}

int cublasLtMatrixLayoutCreate(Layout **out, int type, uint64_t rows, uint64_t columns, int64_t ld) {
  ANSWER("cublasLtMatrixLayoutCreate");
  if ((type != F32 && type != BF16) || ld < (int64_t)rows || !rows || !columns) return INVALID_VALUE;
  *out = malloc(sizeof **out);
  if (!*out) return ALLOC_FAILED;
  **out = (Layout){type, rows, columns, ld};
  return SUCCESS;
}

int cublasLtMatmulDescCreate(Description **out, int compute, int scale) {
  ANSWER("cublasLtMatmulDescCreate");
  if ((compute != COMPUTE_F32 && compute != COMPUTE_TF32) || scale != F32) return NOT_SUPPORTED;
  *out = calloc(1, sizeof **out);
  if (!*out) return ALLOC_FAILED;
  **out = (Description){compute, scale, {0, 0}, NO_EPILOGUE, 0};
  return SUCCESS;
}

int cublasLtMatmulDescSetAttribute(Description *it, int attribute, const void *value, size_t bytes) {
  ANSWER("cublasLtMatmulDescSetAttribute");
  size_t wanted = attribute == 8 ? 8 : 4;
  if (bytes != wanted) return INVALID_VALUE;
  switch (attribute) {
    case 3: case 4: memcpy(&it->transposed[attribute - 3], value, 4); return SUCCESS;
    case 7: memcpy(&it->epilogue, value, 4); return SUCCESS;
    case 8: memcpy(&it->vector, value, 8); return SUCCESS;
    default: return NOT_SUPPORTED;
  }
}

int cublasLtMatmulPreferenceCreate(Preference **out) {
  ANSWER("cublasLtMatmulPreferenceCreate");
  *out = malloc(sizeof **out);
  if (!*out) return ALLOC_FAILED;
  // As documented: all schemes of reduction, 256 bytes.
  **out = (Preference){0, 7, {256, 256, 256, 256}};
  return SUCCESS;
}

int cublasLtMatmulPreferenceSetAttribute(Preference *it, int attribute, const void *value, size_t bytes) {
  ANSWER("cublasLtMatmulPreferenceSetAttribute");
  if (bytes != (attribute == 1 ? 8 : 4)) return INVALID_VALUE;
  switch (attribute) {
    case 1: memcpy(&it->workspace, value, 8); return SUCCESS;
    case 3: memcpy(&it->reductions, value, 4); return SUCCESS;
    case 5: case 6: case 7: case 8: memcpy(&it->alignments[attribute - 5], value, 4); return SUCCESS;
    default: return NOT_SUPPORTED;
  }
}

int cublasLtMatrixLayoutDestroy(void *it) { free(it); return SUCCESS; }
int cublasLtMatmulDescDestroy(void *it) { free(it); return SUCCESS; }
int cublasLtMatmulPreferenceDestroy(void *it) { free(it); return SUCCESS; }

// Sizes of the product: D [m, n] = op(A) [m, k] op(B) [k, n].
static int sizes(const Description *it, const Layout *a, const Layout *b, const Layout *d, uint64_t *k) {
  *k = it->transposed[0] ? a->rows : a->columns;
  uint64_t m = it->transposed[0] ? a->columns : a->rows, n = it->transposed[1] ? b->rows : b->columns;
  return m == d->rows && n == d->columns && *k == (it->transposed[1] ? b->columns : b->rows) ? SUCCESS : INVALID_VALUE;
}

int cublasLtMatmulAlgoGetHeuristic(void *handle, const Description *it, const Layout *a, const Layout *b, const Layout *c, const Layout *d,
                                   const Preference *preference, int wanted, Heuristic *out, int *found) {
  ANSWER("cublasLtMatmulAlgoGetHeuristic");
  uint64_t k;
  *found = 0;
  if (!handle || wanted < 1 || sizes(it, a, b, d, &k) || c->rows != d->rows || c->columns != d->columns) return INVALID_VALUE;
  // Sums of parts in the order of their arrival would not repeat; types are those of the documentation's table.
  int bf16 = a->type == BF16, known = a->type == b->type && c->type == d->type && (bf16 || d->type == F32);
  if (preference->reductions & 1 || preference->workspace < WORKSPACE || !known) return NOT_SUPPORTED;
  if (it->compute == COMPUTE_TF32 && bf16) return NOT_SUPPORTED;
  if (it->epilogue != NO_EPILOGUE && it->epilogue != BIAS && it->epilogue != BGRADB) return NOT_SUPPORTED;
  memset(out, 0, sizeof *out);
  Algorithm *algorithm = (Algorithm *)out->algorithm;
  algorithm->magic = 0x1a5;
  memcpy(algorithm->alignments, preference->alignments, sizeof algorithm->alignments);
  out->workspace = WORKSPACE;
  *found = 1;
  return SUCCESS;
}

int cublasLtMatmulAlgoConfigGetAttribute(const Algorithm *it, int attribute, void *value, size_t bytes, size_t *written) {
  if (it->magic != 0x1a5 || attribute || bytes != 4) return INVALID_VALUE;
  *(int *)value = 66;
  *written = 4;
  return SUCCESS;
}

static float get(const void *from, int type, size_t at) {
  float value;
  uint32_t bits = type == BF16 ? (uint32_t)((const uint16_t *)from)[at] << 16 : ((const uint32_t *)from)[at];
  memcpy(&value, &bits, 4);
  return value;
}

static void put(void *to, int type, size_t at, float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  if (type == BF16) ((uint16_t *)to)[at] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  else ((uint32_t *)to)[at] = bits;
}

// op(matrix) as rows of `columns` numbers, in f32; to 10 bits of mantissa for TF32.
static float *unpacked(const void *from, const Layout *layout, int by_rows, int tf32) {
  uint64_t rows = by_rows ? layout->rows : layout->columns, columns = by_rows ? layout->columns : layout->rows;
  float *out = malloc(rows * columns * sizeof *out);
  for (uint64_t r = 0; out && r < rows; r++)
    for (uint64_t c = 0; c < columns; c++) {
      float value = get(from, layout->type, by_rows ? c * (uint64_t)layout->ld + r : r * (uint64_t)layout->ld + c);
      uint32_t bits;
      memcpy(&bits, &value, 4);
      if (tf32) bits = (bits + 0x1000) & 0xffffe000;
      memcpy(&out[r * columns + c], &bits, 4);
    }
  return out;
}

static size_t bytes(const Layout *it) {
  return ((it->columns - 1) * (uint64_t)it->ld + it->rows) * (it->type == BF16 ? 2 : 4);
}

// Whether the memory is ready for this stream, as the stub driver knows it.
static int in_order(const void *memory, size_t count, int writes, void *stream) {
  static int (*access)(uint64_t, size_t, int, void *);
  if (!access) {
    void *driver = dlopen("libcuda.so", RTLD_LAZY | RTLD_NOLOAD);
    if (driver) access = (int (*)(uint64_t, size_t, int, void *))dlsym(driver, "cuda_stub_access");
  }
  return access && access((uint64_t)(uintptr_t)memory, count, writes, stream);
}

static void finish(const Description *it, float *sums, const Layout *d, void *D, const void *C, const Layout *c, float beta) {
  float wrong = getenv("CUBLAS_STUB_WRONG") ? 1 : 0;
  for (uint64_t n = 0; n < d->columns; n++)
    for (uint64_t m = 0; m < d->rows; m++) {
      size_t at = n * (uint64_t)d->ld + m;
      float value = sums[n * d->rows + m] + wrong;
      if (beta != 0) value += beta * get(C, c->type, n * (uint64_t)c->ld + m);
      if (it->epilogue == BIAS) value += get((void *)(uintptr_t)it->vector, d->type, m);
      put(D, d->type, at, value);
    }
}

int cublasLtMatmul(void *handle, const Description *it, const float *alpha, const void *A, const Layout *a, const void *B, const Layout *b,
                   const float *beta, const void *C, const Layout *c, void *D, const Layout *d, const Algorithm *algorithm, void *workspace,
                   size_t workspace_bytes, void *stream) {
  ANSWER("cublasLtMatmul");
  uint64_t k;
  if (!handle || sizes(it, a, b, d, &k) || *alpha != 1 || algorithm->magic != 0x1a5 || workspace_bytes < WORKSPACE) return INVALID_VALUE;
  const void *memory[] = {A, B, C, D};
  for (int i = 0; i < 4; i++)
    if ((uintptr_t)memory[i] % algorithm->alignments[i]) return INVALID_VALUE;
  uint64_t m = d->rows, n = d->columns, length = it->epilogue == BIAS ? m : it->epilogue == BGRADB ? n : 0;
  void *vector = (void *)(uintptr_t)it->vector;
  size_t vector_bytes = length * (d->type == BF16 ? 2 : 4);
  int ordered = in_order(A, bytes(a), 0, stream) && in_order(B, bytes(b), 0, stream) && in_order(workspace, WORKSPACE, 1, stream) &&
                in_order(D, bytes(d), 1, stream) && (!length || in_order(vector, vector_bytes, it->epilogue == BGRADB, stream));
  if (!ordered) return EXECUTION_FAILED;
  int tf32 = it->compute == COMPUTE_TF32;
  float *left = unpacked(A, a, it->transposed[0], tf32); // [k, m]
  float *right = unpacked(B, b, !it->transposed[1], tf32); // [k, n]
  float *sums = calloc(m * n, sizeof *sums); // [n, m]
  if (!left || !right || !sums) return ALLOC_FAILED;
  for (uint64_t i = 0; i < n; i++)
    for (uint64_t j = 0; j < k; j++) {
      float factor = right[j * n + i], *sum = sums + i * m;
      const float *row = left + j * m;
      for (uint64_t o = 0; o < m; o++) sum[o] += factor * row[o];
    }
  finish(it, sums, d, D, C, c, *beta);
  for (uint64_t i = 0; it->epilogue == BGRADB && i < n; i++) {
    float sum = 0;
    for (uint64_t j = 0; j < k; j++) sum += right[j * n + i];
    put(vector, d->type, i, sum);
  }
  free(left);
  free(right);
  free(sums);
  const char *log = getenv("CUBLAS_STUB_LOG");
  FILE *file = log ? fopen(log, "a") : NULL;
  if (file) {
    fprintf(file, "%llu %llu %llu\t%d%d\t%d>%d\t%d\t%d\n", (unsigned long long)m, (unsigned long long)n, (unsigned long long)k,
            it->transposed[0], it->transposed[1], a->type, d->type, it->epilogue, *beta != 0);
    fclose(file);
  }
  return SUCCESS;
}
