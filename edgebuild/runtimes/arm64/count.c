/*
 * Counts the instructions that an emulated thread executes, as a plugin of QEMU's user-mode emulation.
 *
 * The guest marks a moment with lseek(null, MARK + 8 * slot, SEEK_SET) on the null device, which does nothing. The count
 * at that moment is written into the slot of the file `counts`, which the guest has mapped.
 *
 * Tried with QEMU 7.2. Only that part of its plugin interface is used that stayed as it was, declared here since Debian
 * ships no header: a call for each block that is executed costs no more time than the operations that QEMU can inline,
 * which changed in QEMU 9. API_VERSION is 1 up to QEMU 8 and 2 from QEMU 9 on, which refuses anything older.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define LSEEK 62 /* the number of the system call on arm64 */
#define MARK 0x65646765000000LL
#define SLOTS 512
#define THREADS 256
#define NO_REGISTERS 0

struct qemu_plugin_tb;
typedef uint64_t plugin_id;
typedef void (*translated)(plugin_id, struct qemu_plugin_tb *);
typedef void (*executed)(unsigned int, void *);
typedef void (*called)(plugin_id, unsigned int, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                       uint64_t, uint64_t);

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, translated);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, executed, int, void *);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, called);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);

EXPORT int qemu_plugin_version = API_VERSION;

static uint64_t executed_by[THREADS];
static volatile uint64_t *counts;

static void count(unsigned int thread, void *instructions) {
  executed_by[thread % THREADS] += (uintptr_t)instructions;
}

static void watch(plugin_id id, struct qemu_plugin_tb *block) {
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_cb(block, count, NO_REGISTERS, (void *)qemu_plugin_tb_n_insns(block));
}

static void mark(plugin_id id, unsigned int thread, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                 uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
  (void)id, (void)a1, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
  uint64_t slot = (a2 - MARK) / sizeof *counts;
  if (number == LSEEK && a2 >= MARK && slot < SLOTS) counts[slot] = executed_by[thread % THREADS];
}

/* The argument is "counts=PATH"; QEMU ends with a message where this returns anything but 0. */
EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
  static const char name[] = "counts=";
  (void)info;
  if (argc != 1 || strncmp(argv[0], name, strlen(name)) != 0) return 1;
  int file = open(argv[0] + strlen(name), O_RDWR);
  if (file < 0) return 1;
  counts = mmap(NULL, SLOTS * sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (counts == MAP_FAILED) return 1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, watch);
  qemu_plugin_register_vcpu_syscall_cb(id, mark);
  return 0;
}
