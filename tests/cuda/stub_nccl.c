// An NCCL for processes of one host without GPUs: beside the executing driver (stub_driver.c) device memory is the host's, and the ranks of a
// communicator exchange it through shared memory. Sums run in the order of the ranks, so every rank gets the same bits. A function returns when
// its work is done; that the work waits for what comes before it in its stream is asked of the driver. A rank that is gone is an error.
//
//   gcc -O2 -shared -fPIC -o libnccl.so.2 stub_nccl.c
//
// Environment:
//   NCCL_STUB_WRONG  1: sums are off by one
//   NCCL_STUB_FAULT  ncclCommGetAsyncError finds an error from this exchange on, counted from 1
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SUCCESS = 0, SYSTEM_ERROR = 2, INVALID_ARGUMENT = 4, INVALID_USAGE = 5, REMOTE_ERROR = 6 };
enum { BYTES = 1, FLOATS = 7, SUM = 0 };
enum { RANKS = 16, SLOT = 1 << 20 };

typedef int Result;

typedef struct {
  char name[128];
} UniqueId;

// What all ranks see.
typedef struct {
  atomic_int arrived, generation, processes[RANKS];
  char slots[RANKS][SLOT];
} Shared;

typedef struct {
  Shared *shared;
  int rank, size, root, exchanges;
  atomic_int aborted;
} Comm;

static char last_error[256] = "";

static Result failed(Result code, const char *what) {
  snprintf(last_error, sizeof last_error, "%s", what);
  return code;
}

// A function of the stub driver.
static void *of_driver(const char *name) {
  void *driver = dlopen("libcuda.so", RTLD_LAZY | RTLD_NOLOAD);
  return driver ? dlsym(driver, name) : NULL;
}

// Ends the process at an exchange of memory that its stream has not waited for.
static void in_order(const void *memory, size_t bytes, int writes, void *stream) {
  static int (*access)(uint64_t, size_t, int, void *);
  if (!access) access = (int (*)(uint64_t, size_t, int, void *))of_driver("cuda_stub_access");
  if (access && access((uint64_t)(uintptr_t)memory, bytes, writes, stream)) return;
  fprintf(stderr, "stub NCCL: an exchange does not wait for the work before it\n");
  abort();
}

// Waits for all ranks.
static Result meet(Comm *comm) {
  Shared *shared = comm->shared;
  int generation = atomic_load(&shared->generation);
  if (atomic_fetch_add(&shared->arrived, 1) + 1 == comm->size) {
    atomic_store(&shared->arrived, 0);
    atomic_fetch_add(&shared->generation, 1);
    return SUCCESS;
  }
  for (unsigned looks = 0; atomic_load(&shared->generation) == generation; looks++) {
    if (atomic_load(&comm->aborted)) return failed(REMOTE_ERROR, "aborted");
    for (int rank = 0; looks % 64 == 63 && rank < comm->size; rank++) {
      int process = atomic_load(&shared->processes[rank]);
      if (process && kill(process, 0) && errno == ESRCH) return failed(REMOTE_ERROR, "a rank is gone");
    }
    nanosleep(&(struct timespec){0, looks < 64 ? 20000 : 500000}, NULL);
  }
  return SUCCESS;
}

Result ncclGetVersion(int *version) { *version = 22005; return SUCCESS; }

Result ncclGetUniqueId(UniqueId *id) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  memset(id, 0, sizeof *id);
  snprintf(id->name, sizeof id->name, "/stub-nccl-%d-%lx", getpid(), now.tv_nsec);
  return SUCCESS;
}

Result ncclCommInitRank(Comm **out, int size, UniqueId id, int rank) {
  Result (*current)(void **) = (Result (*)(void **))of_driver("cuCtxGetCurrent");
  void *context = NULL;
  if (!current || current(&context) || !context) return failed(INVALID_USAGE, "no device is current");
  if (size < 1 || size > RANKS || rank < 0 || rank >= size) return failed(INVALID_ARGUMENT, "rank or size");
  int file = shm_open(id.name, O_CREAT | O_RDWR, 0600);
  if (file < 0 || ftruncate(file, sizeof(Shared))) return failed(SYSTEM_ERROR, "shared memory");
  Comm *comm = calloc(1, sizeof *comm);
  *comm = (Comm){mmap(NULL, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0), rank, size, 0, 0, 0};
  close(file);
  if (comm->shared == MAP_FAILED) return failed(SYSTEM_ERROR, "shared memory");
  atomic_store(&comm->shared->processes[rank], getpid());
  Result met = meet(comm);
  shm_unlink(id.name);
  *out = comm;
  return met;
}

// Gives every rank a piece of each, as `take` makes of them.
static Result exchange(Comm *comm, const char *from, size_t bytes, void take(Comm *, char *to, size_t bytes, size_t at, size_t total), char *to) {
  for (size_t at = 0; at < bytes; at += SLOT) {
    size_t piece = bytes - at < SLOT ? bytes - at : SLOT;
    memcpy(comm->shared->slots[comm->rank], from + at, piece);
    Result met = meet(comm);
    if (met) return met;
    take(comm, to, piece, at, bytes);
    // Nobody writes the next piece before all have this one.
    if ((met = meet(comm))) return met;
  }
  comm->exchanges++;
  return SUCCESS;
}

static void add(Comm *comm, char *to, size_t bytes, size_t at, size_t total) {
  (void)total;
  float *sums = (float *)(to + at), wrong = getenv("NCCL_STUB_WRONG") ? 1 : 0;
  for (size_t i = 0; i < bytes / sizeof(float); i++) {
    float sum = wrong;
    for (int rank = 0; rank < comm->size; rank++) sum += ((float *)comm->shared->slots[rank])[i];
    sums[i] = sum;
  }
}

static void join(Comm *comm, char *to, size_t bytes, size_t at, size_t total) {
  for (int rank = 0; rank < comm->size; rank++) memcpy(to + (size_t)rank * total + at, comm->shared->slots[rank], bytes);
}

static void take_root(Comm *comm, char *to, size_t bytes, size_t at, size_t total) {
  (void)total;
  memcpy(to + at, comm->shared->slots[comm->root], bytes);
}

Result ncclAllReduce(const void *from, void *to, size_t count, int type, int operation, Comm *comm, void *stream) {
  if (type != FLOATS || operation != SUM) return failed(INVALID_ARGUMENT, "only sums of floats");
  in_order(from, count * 4, 0, stream);
  in_order(to, count * 4, 1, stream);
  return exchange(comm, from, count * 4, add, to);
}

Result ncclAllGather(const void *from, void *to, size_t count, int type, Comm *comm, void *stream) {
  size_t bytes = type == FLOATS ? count * 4 : count;
  in_order(from, bytes, 0, stream);
  in_order(to, bytes * (size_t)comm->size, 1, stream);
  return exchange(comm, from, bytes, join, to);
}

Result ncclBroadcast(const void *from, void *to, size_t count, int type, int root, Comm *comm, void *stream) {
  size_t bytes = type == FLOATS ? count * 4 : count;
  in_order(from, bytes, 0, stream);
  in_order(to, bytes, 1, stream);
  comm->root = root;
  return exchange(comm, from, bytes, take_root, to);
}

// As NCCL does, it leaves the other ranks' memory as it was; here that is made useless, so that nobody relies on it.
Result ncclReduce(const void *from, void *to, size_t count, int type, int operation, int root, Comm *comm, void *stream) {
  if (type != FLOATS || operation != SUM) return failed(INVALID_ARGUMENT, "only sums of floats");
  in_order(from, count * 4, 0, stream);
  in_order(to, count * 4, 1, stream);
  Result done = exchange(comm, from, count * 4, add, to);
  if (comm->rank != root) memset(to, 0xff, count * 4);
  return done;
}

// All is done at once anyway.
Result ncclGroupStart(void) { return SUCCESS; }
Result ncclGroupEnd(void) { return SUCCESS; }

Result ncclCommGetAsyncError(Comm *comm, Result *out) {
  const char *from = getenv("NCCL_STUB_FAULT");
  *out = from && comm->exchanges >= atoi(from) ? failed(REMOTE_ERROR, "a fault of the stub") : SUCCESS;
  return SUCCESS;
}

Result ncclCommAbort(Comm *comm) { atomic_store(&comm->aborted, 1); return SUCCESS; }
Result ncclCommDestroy(Comm *comm) { munmap(comm->shared, sizeof(Shared)); free(comm); return SUCCESS; }

const char *ncclGetErrorString(Result code) {
  switch (code) {
    case SUCCESS: return "no error";
    case SYSTEM_ERROR: return "unhandled system error";
    case INVALID_ARGUMENT: return "invalid argument";
    case INVALID_USAGE: return "invalid usage";
    case REMOTE_ERROR: return "remote process exited or there was a network error";
    default: return "unknown result code";
  }
}

const char *ncclGetLastError(Comm *comm) { (void)comm; return last_error; }
