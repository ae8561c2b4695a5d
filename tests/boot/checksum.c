// Runs inside of the guest: fills memory with words that each page has alone, and looks whether they
// are still there while others page, write-protect and unmap that memory from outside.
//   checksum MIB PROCESSES PASSES
// In each pass every process writes its share of the pages, in an order of its own, and then reads
// another's. Prints CHECKSUM-OK, or CHECKSUM-BAD and where.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { page_size = 4096, words = page_size / 8 };

static uint64_t* memory;
static uint64_t pages;

static uint64_t mixed(uint64_t x) {
  x ^= x >> 33, x *= 0xff51afd7ed558ccdull;
  x ^= x >> 33, x *= 0xc4ceb9fe1a85ec53ull;
  return x ^ x >> 33;
}

// The n-th page of a process' share: in order, backwards, or all over the place.
static uint64_t page_of(uint64_t n, uint64_t share, uint64_t pass) {
  if (pass % 3 == 0) return n;
  if (pass % 3 == 1) return share - 1 - n;
  return n * 7919 % share;  // share is no multiple of that prime (main() sees to it)
}

static void write_share(uint64_t first, uint64_t share, uint64_t pass) {
  for (uint64_t n = 0; n < share; ++n) {
    const uint64_t page = first + page_of(n, share, pass);
    uint64_t value = mixed(page << 16 | pass);
    for (unsigned w = 0; w < words; ++w) memory[page * words + w] = value += 0x9e3779b97f4a7c15ull;
  }
}

static int check_share(uint64_t first, uint64_t share, uint64_t pass) {
  for (uint64_t n = 0; n < share; ++n) {
    const uint64_t page = first + page_of(n, share, pass + 1);
    uint64_t value = mixed(page << 16 | pass);
    for (unsigned w = 0; w < words; ++w) {
      value += 0x9e3779b97f4a7c15ull;
      const uint64_t got = memory[page * words + w];
      if (got == value) continue;
      printf("CHECKSUM-BAD pass=%lu page=%lu word=%u got=%#lx wanted=%#lx\n", pass, page, w, got, value);
      return 1;
    }
  }
  return 0;
}

// Runs op for each process; the number of those that failed.
static int in_parallel(unsigned processes, uint64_t share, uint64_t pass, int check) {
  for (unsigned p = 0; p < processes; ++p) {
    if (fork()) continue;
    const uint64_t first = (p + (check ? 1 : 0)) % processes * share;
    if (!check) write_share(first, share, pass);
    exit(check ? check_share(first, share, pass) : 0);
  }
  int failed = 0, status;
  while (wait(&status) > 0) failed += status != 0;
  return failed;
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const uint64_t bytes = strtoull(argv[1], 0, 10) << 20, passes = strtoull(argv[3], 0, 10);
  const unsigned processes = (unsigned)strtoul(argv[2], 0, 10);
  setvbuf(stdout, 0, _IONBF, 0);
  if (!bytes || !processes || !passes) return 2;
  uint64_t share = bytes / page_size / processes;
  if (share % 7919 == 0) --share;
  pages = share * processes;
  memory = mmap(0, pages * page_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 2;
  for (uint64_t pass = 0; pass < passes; ++pass) {
    if (in_parallel(processes, share, pass, 0)) return 2;
    if (in_parallel(processes, share, pass, 1)) return 1;
  }
  printf("CHECKSUM-OK mib=%lu processes=%u passes=%lu\n", bytes >> 20, processes, passes);
  return 0;
}
