// A CUDA driver without a GPU: enough of libcuda for cubecl-cuda to take every kernel through its real pipeline, from the kernel's
// function over CUDA C++ and NVRTC to PTX. Memory is the host's, launches do nothing, and whatever is copied back to the host is zero, so a
// program runs to its end with zeros for results. What it proves then is that kernels compile and that launches are well formed, not what they
// compute.
//
// With CUDA_STUB_INTERPRETER it executes: launches go to the interpreter of tests/ptx, products to the stub cuBLASLt (stub_cublaslt.c), and
// copies bring what is in memory. Since all work is done when a call returns, a stream that does not wait for another would not show; so the
// driver keeps the order that streams and events promise, and tells when memory is used against it. New memory holds NaNs.
//
//   gcc -O1 -shared -fPIC -o libcuda.so stub_driver.c
//
// The name must be libcuda.so, with no soname: NVRTC itself loads libcuda.so.1 when there is one, and crashes on an incomplete one.
//
// Environment:
//   CUDA_STUB_ARCH     80 (an A100) or 90 (an H100, the default); other numbers get the H100's limits
//   CUDA_STUB_MODULES  folder that receives each module as NNNN.ptx, and at exit launches.tsv: for each module that was loaded its
//                        file, its kernel, the number of launches, the threads of a block and the bytes of dynamic shared memory
//                        When it executes, traffic.tsv: for each launch its file, its kernel, the bytes that it read and wrote, each once, and
//                        the bytes that its threads asked to read and to write
//   CUDA_STUB_CALLS    with it, the same folder receives calls.tsv, a line for each launch in their order: the module's file, its kernel,
//                        the grid and the block (x,y,z), the bytes of dynamic shared memory, and each argument in hexadecimal
//   CUDA_STUB_RESULTS  1: copies to the host bring what is in memory
//   CUDA_STUB_INTERPRETER  libpixgen_ptx.so, which runs the launches
//   CUDA_STUB_CONTEXT  1: streams say that they belong to another context
//   CUDA_STUB_MIX_UP   1: cuBLASLt's work lands in another stream than it was given
//   CUDA_STUB_FAIL     FUNCTION:CALL: cuMemAllocAsync (of a workspace) or cuCtxWaitEvent fails at this call, counted from 1
//   CUDA_STUB_DEVICES  number of devices, 1; 0 makes cuInit fail as on a machine without a GPU
//   CUDA_STUB_DRIVER   version of the driver as CUDA packs it, 12090
//   CUDA_STUB_MEMORY   GiB of memory in all, 80; all of it is free
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, NOT_FOUND = 500, UNKNOWN = 999 };

typedef int Result;
typedef unsigned long long DevicePointer;
typedef void *Handle; // contexts, streams, events, arrays: nobody looks inside

static int setting(const char *name, int otherwise) {
  const char *text = getenv(name);
  return text ? atoi(text) : otherwise;
}

// Whether the environment wants the next call of a function to fail; `calls` counts them.
static int fails(const char *function, int *calls) {
  const char *wanted = getenv("CUDA_STUB_FAIL");
  size_t length = strlen(function);
  return wanted && !strncmp(wanted, function, length) && wanted[length] == ':' && ++*calls == atoi(wanted + length + 1);
}

static int executes(void) { return getenv("CUDA_STUB_INTERPRETER") != NULL; }
static int results(void) { return executes() || setting("CUDA_STUB_RESULTS", 0); }
static int devices(void) { return setting("CUDA_STUB_DEVICES", 1); }
static int arch(void) { return setting("CUDA_STUB_ARCH", 90); }
static size_t memory(void) { return (size_t)setting("CUDA_STUB_MEMORY", 80) << 30; }

// --- Driver and device ------------------------------------------------------------------------------------------------------------------

Result cuInit(unsigned flags) { (void)flags; return devices() > 0 ? SUCCESS : NO_DEVICE; }
Result cuDriverGetVersion(int *version) { *version = setting("CUDA_STUB_DRIVER", 12090); return SUCCESS; }
Result cuDeviceGetCount(int *count) { *count = devices(); return SUCCESS; }

Result cuDeviceGet(int *device, int index) {
  if (index < 0 || index >= devices()) return INVALID_DEVICE;
  *device = index;
  return SUCCESS;
}

Result cuDeviceGetName(char *name, int length, int device) {
  (void)device;
  snprintf(name, (size_t)length, "Stub of sm_%d", arch());
  return SUCCESS;
}

Result cuDeviceTotalMem_v2(size_t *bytes, int device) { (void)device; *bytes = memory(); return SUCCESS; }
Result cuMemGetInfo_v2(size_t *free_bytes, size_t *total) { *free_bytes = *total = memory(); return SUCCESS; }

// Numbers of CUdevice_attribute. One that is not listed is an error, so that nothing rests on an invented value.
Result cuDeviceGetAttribute(int *value, int attribute, int device) {
  (void)device;
  int a100 = arch() < 90;
  switch (attribute) {
    case 1: *value = 1024; return SUCCESS;                     // threads of a block
    case 2: case 3: *value = 1024; return SUCCESS;             // block, x and y
    case 4: *value = 64; return SUCCESS;                       // block, z
    case 5: *value = 2147483647; return SUCCESS;               // grid, x
    case 6: case 7: *value = 65535; return SUCCESS;            // grid, y and z
    case 8: *value = 48 * 1024; return SUCCESS;                // shared memory of a block, static
    case 10: *value = 32; return SUCCESS;                      // warp
    case 16: *value = a100 ? 108 : 132; return SUCCESS;        // multiprocessors
    case 75: *value = arch() / 10; return SUCCESS;             // compute capability, major
    case 76: *value = arch() % 10; return SUCCESS;             // compute capability, minor
    case 97: *value = (a100 ? 163 : 227) * 1024; return SUCCESS; // shared memory of a block, opted in
    default: return INVALID_VALUE;
  }
}

Result cuGetErrorName(int error, const char **name) { (void)error; *name = "CUDA_ERROR_OF_THE_STUB"; return SUCCESS; }
Result cuGetErrorString(int error, const char **text) { (void)error; *text = "error of the stub driver"; return SUCCESS; }

// --- Contexts, streams, events: all work is done when a call returns, and the order that it was promised is kept -------------------------

enum { STREAMS = 160 };

// How far each stream's work has come, as far as the owner of the clock waits for it.
typedef struct {
  uint64_t at[STREAMS];
} Clock;

typedef struct {
  int number;
  Clock clock;
} Stream;

static char context, other_context;
static __thread Handle current;
static Stream streams[STREAMS];
static int stream_count = 1; // the first is the legacy default stream
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static Stream *stream_of(Handle it) { return it ? it : &streams[0]; }

static void merge(Clock *into, const Clock *other) {
  for (int i = 0; i < STREAMS; i++)
    if (other->at[i] > into->at[i]) into->at[i] = other->at[i];
}

Result cuDevicePrimaryCtxRetain(Handle *out, int device) { (void)device; *out = &context; return SUCCESS; }
Result cuDevicePrimaryCtxRelease_v2(int device) { (void)device; return SUCCESS; }
Result cuCtxSetCurrent(Handle wanted) { current = wanted; return SUCCESS; }
Result cuCtxGetCurrent(Handle *out) { *out = current; return SUCCESS; }

Result cuStreamCreate(Handle *out, unsigned flags) {
  (void)flags;
  pthread_mutex_lock(&lock);
  Stream *it = stream_count < STREAMS ? &streams[stream_count] : NULL;
  if (it) it->number = stream_count++;
  pthread_mutex_unlock(&lock);
  *out = it;
  return it ? SUCCESS : OUT_OF_MEMORY;
}

Result cuStreamDestroy_v2(Handle it) { (void)it; return SUCCESS; }
Result cuStreamSynchronize(Handle it) { (void)it; return SUCCESS; }

Result cuStreamGetCtx(Handle it, Handle *out) {
  (void)it;
  *out = setting("CUDA_STUB_CONTEXT", 0) ? &other_context : &context;
  return SUCCESS;
}

Result cuEventCreate(Handle *out, unsigned flags) { (void)flags; *out = calloc(1, sizeof(Clock)); return *out ? SUCCESS : OUT_OF_MEMORY; }
Result cuEventDestroy_v2(Handle it) { free(it); return SUCCESS; }

// What the host has waited for is over when anything else is asked for. CubeCL frees memory that several streams have used in this way.
static Clock finished;
Result cuEventSynchronize(Handle it) {
  pthread_mutex_lock(&lock);
  merge(&finished, it);
  pthread_mutex_unlock(&lock);
  return SUCCESS;
}

Result cuEventRecord(Handle it, Handle on) {
  pthread_mutex_lock(&lock);
  *(Clock *)it = stream_of(on)->clock;
  pthread_mutex_unlock(&lock);
  return SUCCESS;
}

Result cuStreamWaitEvent(Handle it, Handle on, unsigned flags) {
  (void)flags;
  pthread_mutex_lock(&lock);
  merge(&stream_of(it)->clock, on);
  pthread_mutex_unlock(&lock);
  return SUCCESS;
}

// From CUDA 12.5 on: of all streams of the context.
Result cuCtxRecordEvent(Handle of, Handle event) {
  (void)of;
  pthread_mutex_lock(&lock);
  memset(event, 0, sizeof(Clock));
  for (int i = 0; i < stream_count; i++) merge(event, &streams[i].clock);
  pthread_mutex_unlock(&lock);
  return SUCCESS;
}

Result cuCtxWaitEvent(Handle of, Handle event) {
  static int calls;
  (void)of;
  if (fails("cuCtxWaitEvent", &calls)) return UNKNOWN;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < stream_count; i++) merge(&streams[i].clock, event);
  pthread_mutex_unlock(&lock);
  return SUCCESS;
}

// --- Who used which memory last ---------------------------------------------------------------------------------------------------------

typedef struct Access {
  struct Access *next;
  uint64_t from, to;
  int writes, stream;
  uint64_t time;
} Access;

static Access *accesses;

// Forgets accesses to memory that lies within a range.
static void forget(uint64_t from, uint64_t to, int reads_only_of) {
  for (Access **it = &accesses; *it;) {
    Access *found = *it;
    int same = reads_only_of < 0 || (!found->writes && found->stream == reads_only_of);
    if (same && found->from >= from && found->to <= to) {
      *it = found->next;
      free(found);
    } else {
      it = &found->next;
    }
  }
}

// Notes that `on` reads or writes memory. Whether it waited for all earlier work that writes there, and if it writes, for all that reads.
static int note_access(uint64_t at, size_t bytes, int writes, Handle on) {
  pthread_mutex_lock(&lock);
  Stream *stream = stream_of(on);
  uint64_t end = at + bytes;
  int fine = 1;
  for (const Access *it = accesses; it; it = it->next)
    if (it->from < end && at < it->to && (writes || it->writes) && stream->clock.at[it->stream] < it->time && finished.at[it->stream] < it->time)
      fine = 0;
  // What is refused does not happen.
  Access *it = fine ? malloc(sizeof *it) : NULL;
  if (it) {
    forget(at, end, writes ? -1 : stream->number);
    *it = (Access){accesses, at, end, writes, stream->number, ++stream->clock.at[stream->number]};
    accesses = it;
  }
  pthread_mutex_unlock(&lock);
  return it != NULL;
}

// For stub_cublaslt.c: an operand of work in `on`. Whether it is in order.
int cuda_stub_access(uint64_t at, size_t bytes, int writes, Handle on) {
  if (setting("CUDA_STUB_MIX_UP", 0)) on = &streams[0];
  return note_access(at, bytes, writes, on);
}

// Ends the process at work that does not wait for what it needs.
static void in_order(const char *work, uint64_t at, size_t bytes, int writes, Handle on) {
  if (note_access(at, bytes, writes, on)) return;
  fprintf(stderr, "stub driver: %s does not wait for the work before it\n", work);
  abort();
}

// A copy by CubeCL, which must be in order too.
static void copied(uint64_t at, size_t bytes, int writes, Handle on) { in_order("a copy", at, bytes, writes, on); }

// --- Memory -----------------------------------------------------------------------------------------------------------------------------

// An allocation, as tests/ptx/src/driver.rs takes it.
typedef struct {
  uint64_t address, bytes;
} Region;

enum { REGIONS = 4096 };
static Region regions[REGIONS];
static size_t region_count;

Result cuMemAlloc_v2(DevicePointer *out, size_t bytes) {
  void *block = NULL;
  if (bytes > memory() || region_count == REGIONS || posix_memalign(&block, 512, bytes ? bytes : 1)) return OUT_OF_MEMORY;
  // Large blocks come as untouched zero pages: a network of many GiB costs only the pages that are written. Where results count, what was
  // never written must spoil them.
  if (executes()) memset(block, 0xff, bytes);
  else if (bytes < 1 << 20) memset(block, 0, bytes);
  *out = (DevicePointer)(uintptr_t)block;
  pthread_mutex_lock(&lock);
  regions[region_count++] = (Region){*out, bytes};
  pthread_mutex_unlock(&lock);
  return SUCCESS;
}

static void *host(DevicePointer pointer) { return (void *)(uintptr_t)pointer; }

// What was in a block is of no interest to the next one there.
Result cuMemFree_v2(DevicePointer pointer) {
  pthread_mutex_lock(&lock);
  for (size_t i = 0; i < region_count; i++)
    if (regions[i].address == pointer) regions[i] = regions[--region_count];
  forget(pointer, pointer + malloc_usable_size(host(pointer)), -1);
  pthread_mutex_unlock(&lock);
  free(host(pointer));
  return SUCCESS;
}

// For tests: the workspaces of Pixgen, which it alone allocates in this size, and how many there are.
enum { WORKSPACE = 32 << 20 };
static int workspaces;
int cuda_stub_workspaces(void) { return workspaces; }

Result cuMemAllocAsync(DevicePointer *out, size_t bytes, Handle on) {
  static int calls;
  (void)on;
  if (bytes == WORKSPACE && fails("cuMemAllocAsync", &calls)) return OUT_OF_MEMORY;
  workspaces += bytes == WORKSPACE;
  return cuMemAlloc_v2(out, bytes);
}

Result cuMemFreeAsync(DevicePointer pointer, Handle on) {
  (void)on;
  size_t bytes = malloc_usable_size(host(pointer));
  workspaces -= bytes >= WORKSPACE && bytes < WORKSPACE + 4096;
  return cuMemFree_v2(pointer);
}

Result cuMemAllocHost_v2(void **out, size_t bytes) { *out = malloc(bytes ? bytes : 1); return *out ? SUCCESS : OUT_OF_MEMORY; }
Result cuMemFreeHost(void *pointer) { free(pointer); return SUCCESS; }

Result cuMemcpyHtoDAsync_v2(DevicePointer to, const void *from, size_t bytes, Handle on) {
  copied(to, bytes, 1, on);
  memcpy(host(to), from, bytes);
  return SUCCESS;
}

Result cuMemcpyDtoHAsync_v2(void *to, DevicePointer from, size_t bytes, Handle on) {
  copied(from, bytes, 0, on);
  if (results()) memcpy(to, host(from), bytes);
  else memset(to, 0, bytes);
  return SUCCESS;
}

Result cuMemcpyDtoDAsync_v2(DevicePointer to, DevicePointer from, size_t bytes, Handle on) {
  copied(from, bytes, 0, on);
  copied(to, bytes, 1, on);
  memmove(host(to), host(from), bytes);
  return SUCCESS;
}

// One end of a CUDA_MEMCPY2D.
typedef struct {
  size_t x_bytes, y;
  int kind; // 1: host, 2: device
  void *host;
  DevicePointer device;
  Handle array;
  size_t pitch;
} End;

typedef struct {
  End from, to;
  size_t width_bytes, height;
} Copy2D;

static char *row(const End *end, size_t y) {
  char *base = end->kind == 1 ? end->host : host(end->device);
  return base + (end->y + y) * end->pitch + end->x_bytes;
}

Result cuMemcpy2DAsync_v2(const Copy2D *copy, Handle on) {
  for (size_t y = 0; y < copy->height; y++) {
    if (copy->from.kind == 2) copied((uintptr_t)row(&copy->from, y), copy->width_bytes, 0, on);
    if (copy->to.kind == 2) copied((uintptr_t)row(&copy->to, y), copy->width_bytes, 1, on);
    if (copy->to.kind == 1 && !results()) memset(row(&copy->to, y), 0, copy->width_bytes);
    else memmove(row(&copy->to, y), row(&copy->from, y), copy->width_bytes);
  }
  return SUCCESS;
}

// --- Modules and launches ---------------------------------------------------------------------------------------------------------------

// A module is its own function: CubeCL puts one kernel into each.
typedef struct Module {
  struct Module *next;
  int number;
  char kernel[512];
  const char *ptx;
  const void *interpreted; // by tests/ptx
  unsigned long launches;
  unsigned threads, shared_bytes; // the largest of all launches
  int arguments;
  size_t sizes[64]; // bytes of each argument
} Module;

static Module *modules; // newest first
static int loaded;

// Reads the arguments of the one kernel of a module: `.param .u64 name` or `.param .align 4 .b8 name[40]`, up to the closing bracket.
static void read_arguments(Module *module, const char *ptx) {
  const char *at = strstr(ptx, ".entry"), *end = at ? strchr(at, ')') : NULL;
  while (end && (at = strstr(at, ".param")) && at < end && module->arguments < 64) {
    at += strlen(".param");
    int alignment, bits = 0, count = 1;
    sscanf(at, " .align %d", &alignment);
    const char *next = strpbrk(at, ",)"), *array = memchr(at, '[', (size_t)(next - at));
    for (const char *it = at; it < next && !bits; it++)
      if (*it == '.' && strchr("ubsf", it[1])) sscanf(it + 2, "%d", &bits);
    if (array) count = atoi(array + 1);
    module->sizes[module->arguments++] = (size_t)(bits / 8 * count);
    at = next;
  }
}

// CubeCL works on one thread for each device, so nothing here is locked.
Result cuModuleLoadData(Handle *out, const void *image) {
  Module *module = calloc(1, sizeof *module);
  if (!module) return OUT_OF_MEMORY;
  module->number = ++loaded;
  module->ptx = strdup(image);
  read_arguments(module, image);
  module->next = modules;
  modules = module;
  *out = module;
  const char *folder = getenv("CUDA_STUB_MODULES");
  if (!folder) return SUCCESS;
  char path[4096];
  snprintf(path, sizeof path, "%s/%04d.ptx", folder, module->number);
  FILE *file = fopen(path, "w");
  if (!file || fputs(image, file) < 0 || fclose(file)) {
    // A module that is not on disk would be missing from the table without a word.
    fprintf(stderr, "stub driver: cannot write %s\n", path);
    abort();
  }
  return SUCCESS;
}

Result cuModuleGetFunction(Handle *out, Handle module, const char *name) {
  Module *it = module;
  snprintf(it->kernel, sizeof it->kernel, "%s", name);
  *out = module;
  return SUCCESS;
}

Result cuModuleUnload(Handle module) { (void)module; return SUCCESS; }
Result cuFuncSetAttribute(Handle function, int attribute, int value) { (void)function, (void)attribute, (void)value; return SUCCESS; }

static void write_call(const Module *module, const unsigned grid[3], const unsigned block[3], unsigned shared_bytes, void **arguments) {
  const char *folder = getenv("CUDA_STUB_MODULES");
  if (!folder || !getenv("CUDA_STUB_CALLS")) return;
  char path[4096];
  snprintf(path, sizeof path, "%s/calls.tsv", folder);
  FILE *file = fopen(path, "a");
  if (!file) return;
  fprintf(file, "%04d.ptx\t%s\t%u,%u,%u\t%u,%u,%u\t%u", module->number, module->kernel, grid[0], grid[1], grid[2], block[0], block[1], block[2], shared_bytes);
  for (int i = 0; i < module->arguments; i++) {
    fputc('\t', file);
    for (size_t j = 0; j < module->sizes[i]; j++) fprintf(file, "%02x", ((unsigned char *)arguments[i])[j]);
  }
  fputc('\n', file);
  fclose(file);
}

// What the launch has touched so far: bytes that it read and wrote, and bytes that its threads asked for.
static size_t touched_bytes[2], asked_bytes[2];

// A part of memory that a launch has touched, in the stream `on`.
static void touched(uint64_t at, size_t bytes, size_t asked, int writes, void *on) {
  in_order("a launch", at, bytes, writes, on);
  touched_bytes[writes] += bytes;
  asked_bytes[writes] += asked;
}

static void write_traffic(const Module *module) {
  const char *folder = getenv("CUDA_STUB_MODULES");
  char path[4096];
  snprintf(path, sizeof path, "%s/traffic.tsv", folder ? folder : ".");
  FILE *file = folder ? fopen(path, "a") : NULL;
  if (file) {
    fprintf(file, "%04d.ptx\t%s\t%zu\t%zu\t%zu\t%zu\n", module->number, module->kernel, touched_bytes[0], touched_bytes[1], asked_bytes[0], asked_bytes[1]);
    fclose(file);
  }
  memset(touched_bytes, 0, sizeof touched_bytes);
  memset(asked_bytes, 0, sizeof asked_bytes);
}

typedef void Touch(uint64_t, size_t, size_t, int, void *);

// A function of the interpreter.
static void *interpreter(const char *name) {
  void *library = dlopen(getenv("CUDA_STUB_INTERPRETER"), RTLD_NOW), *found = library ? dlsym(library, name) : NULL;
  if (found) return found;
  fprintf(stderr, "stub driver: %s\n", dlerror());
  abort();
}

// Ends the process at a kernel that cannot be read, or that makes a mistake: the interpreter has said which.
static void execute(Module *module, const unsigned sizes[7], void **arguments, Handle on) {
  static const void *(*load)(const char *, const char *);
  static int (*launch)(const void *, const unsigned *, void **, const Region *, size_t, Touch *, void *);
  static unsigned seed;
  if (!launch) {
    load = (const void *(*)(const char *, const char *))interpreter("pixgen_ptx_load");
    launch = (int (*)(const void *, const unsigned *, void **, const Region *, size_t, Touch *, void *))interpreter("pixgen_ptx_launch");
  }
  if (!module->interpreted) module->interpreted = load(module->ptx, module->kernel);
  unsigned all[8];
  memcpy(all, sizes, 7 * sizeof *sizes);
  all[7] = ++seed;
  if (!module->interpreted || launch(module->interpreted, all, arguments, regions, region_count, touched, on)) abort();
  write_traffic(module);
}

// The limits that a real launch is refused for.
Result cuLaunchKernel(Handle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned x, unsigned y, unsigned z,
                      unsigned shared_bytes, Handle on, void **arguments, void **extra) {
  (void)extra;
  Module *module = function;
  unsigned threads = x * y * z, most_shared = (arch() < 90 ? 163 : 227) * 1024;
  if (!grid_x || !grid_y || !grid_z || grid_y > 65535 || grid_z > 65535 || !threads || threads > 1024 || z > 64 || shared_bytes > most_shared)
    return INVALID_VALUE;
  module->launches++;
  if (threads > module->threads) module->threads = threads;
  if (shared_bytes > module->shared_bytes) module->shared_bytes = shared_bytes;
  write_call(module, (unsigned[]){grid_x, grid_y, grid_z}, (unsigned[]){x, y, z}, shared_bytes, arguments);
  if (executes()) execute(module, (unsigned[]){grid_x, grid_y, grid_z, x, y, z, shared_bytes}, arguments, on);
  return SUCCESS;
}

// Descriptors of TMA copies are 128 opaque bytes in the first argument.
Result cuTensorMapEncodeTiled(void *map) { memset(map, 0, 128); return SUCCESS; }
Result cuTensorMapEncodeIm2col(void *map) { memset(map, 0, 128); return SUCCESS; }

__attribute__((destructor)) static void write_launches(void) {
  const char *folder = getenv("CUDA_STUB_MODULES");
  if (!folder || !modules) return;
  char path[4096];
  snprintf(path, sizeof path, "%s/launches.tsv", folder);
  FILE *file = fopen(path, "w");
  if (!file) return;
  for (Module *it = modules; it; it = it->next)
    fprintf(file, "%04d.ptx\t%s\t%lu\t%u\t%u\n", it->number, it->kernel, it->launches, it->threads, it->shared_bytes);
  fclose(file);
}
