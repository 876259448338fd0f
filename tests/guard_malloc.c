/* An allocator to put before the C library's (LD_PRELOAD): blocks of 200 bytes and more lie in
 * pages of their own with an unreadable page on both sides, filled with large floats, so that a
 * kernel that reads or writes beyond its memory ends in a signal. Sanitizers do not see what
 * assembly reads. The block's end meets the page (to its alignment); with SLIPWAY_GUARD=front its
 * beginning does.
 *
 *   aarch64-linux-gnu-gcc -O1 -fPIC -shared tests/guard_malloc.c -o guard.so
 *   qemu-aarch64 -L /usr/aarch64-linux-gnu -E LD_PRELOAD=$PWD/guard.so
 * build/runtime-aarch64/test_kernels_conv
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

extern void* __libc_malloc(size_t);
extern void* __libc_memalign(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void __libc_free(void*);

enum { kPage = 4096, kLeast = 200, kMost = 64 << 20, kSlots = 1 << 16 };

/* Of each guarded block: where it begins, its bytes, and its mapping. */
static struct {
  void* block;
  size_t size, mapped;
  void* mapping;
} slots[kSlots];
static int locked;

static void Lock(void) {
  while (__atomic_exchange_n(&locked, 1, __ATOMIC_ACQUIRE)) {
  }
}
static void Unlock(void) { __atomic_store_n(&locked, 0, __ATOMIC_RELEASE); }
static unsigned Hash(const void* p) {
  return (unsigned)(((uintptr_t)p >> 4) * 2654435761u >> 8) % kSlots;
}

/* The slot of a block, or -1. Slots of freed blocks stay in the chains. */
static char freed;
static int Find(const void* block) {
  unsigned i = Hash(block);
  for (int n = 0; n < kSlots && slots[i].block; ++n, i = (i + 1) % kSlots) {
    if (slots[i].block == block) return (int)i;
  }
  return -1;
}

static void* Guarded(size_t alignment, size_t size) {
  static int front = -1;
  if (front < 0) {
    const char* e = getenv("SLIPWAY_GUARD");
    front = e && strcmp(e, "front") == 0;
  }
  const size_t padded = (size + alignment - 1) / alignment * alignment,
               data = (padded + kPage - 1) / kPage * kPage, mapped = data + 2 * kPage;
  char* pages = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return NULL;
  mprotect(pages, kPage, PROT_NONE);
  mprotect(pages + kPage + data, kPage, PROT_NONE);
  memset(pages + kPage, 0x7f, data);
  void* block = pages + kPage + (front ? 0 : data - padded);
  Lock();
  unsigned i = Hash(block);
  int n = 0;
  for (; n < kSlots && slots[i].block && slots[i].block != &freed; ++n) i = (i + 1) % kSlots;
  if (n == kSlots) abort();
  slots[i].block = block;
  slots[i].size = size;
  slots[i].mapped = mapped;
  slots[i].mapping = pages;
  Unlock();
  return block;
}

static void* Allocate(size_t alignment, size_t size) {
  if (alignment < 16) alignment = 16;
  if (size < kLeast || size > kMost || alignment > kPage)
    return alignment > 16 ? __libc_memalign(alignment, size) : __libc_malloc(size);
  return Guarded(alignment, size);
}

void* malloc(size_t size) { return Allocate(16, size); }
void* calloc(size_t count, size_t each) {
  size_t size;
  if (__builtin_mul_overflow(count, each, &size)) return NULL;
  void* p = Allocate(16, size);
  if (p) memset(p, 0, size);
  return p;
}
void* aligned_alloc(size_t alignment, size_t size) { return Allocate(alignment, size); }
void* memalign(size_t alignment, size_t size) { return Allocate(alignment, size); }
int posix_memalign(void** out, size_t alignment, size_t size) {
  *out = Allocate(alignment, size);
  return *out ? 0 : ENOMEM;
}
void free(void* p) {
  if (!p) return;
  Lock();
  const int i = Find(p);
  if (i < 0) {
    Unlock();
    __libc_free(p);
    return;
  }
  void* mapping = slots[i].mapping;
  const size_t mapped = slots[i].mapped;
  slots[i].block = &freed;
  Unlock();
  munmap(mapping, mapped);
}
void* realloc(void* p, size_t size) {
  if (!p) return malloc(size);
  Lock();
  const int i = Find(p);
  const size_t old = i < 0 ? 0 : slots[i].size;
  Unlock();
  if (i < 0) return __libc_realloc(p, size);
  void* q = malloc(size);
  if (!q) return NULL;
  memcpy(q, p, old < size ? old : size);
  free(p);
  return q;
}
