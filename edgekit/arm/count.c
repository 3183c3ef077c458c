/* A plugin of qemu-user that counts guest instructions and tells the count where the guest asks for it.
 *
 * The guest asks by getpriority(0x7ed9, descriptor), system call 141 of aarch64: the count so far is written to the descriptor
 * as a line. The call itself goes on to the kernel, which refuses it. Blocks are counted when they begin, by all instructions
 * that they hold. One guest thread only: the addition is not atomic.
 *
 * Needs no header: the few functions of the plugin interface, version 1, are declared here.
 */
typedef unsigned long long u64;

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

extern void qemu_plugin_register_vcpu_tb_trans_cb(u64 id, void (*call)(u64, void *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(void *block, int operation, void *where, u64 summand);
extern void qemu_plugin_register_vcpu_syscall_cb(
    u64 id, void (*call)(u64, unsigned, long long, u64, u64, u64, u64, u64, u64, u64, u64));
extern unsigned long qemu_plugin_tb_n_insns(const void *block);
extern int dprintf(int descriptor, const char *format, ...);

enum { ADD = 0, GETPRIORITY = 141, MARK = 0x7ed9 };

static u64 count;

static void on_translation(u64 id, void *block) {
  qemu_plugin_register_vcpu_tb_exec_inline(block, ADD, &count, qemu_plugin_tb_n_insns(block));
}

static void on_call(u64 id, unsigned cpu, long long number, u64 which, u64 descriptor, u64 a3, u64 a4, u64 a5, u64 a6,
                    u64 a7, u64 a8) {
  if (number == GETPRIORITY && (which & 0xffff) == MARK)
    dprintf((int)descriptor, "%llu\n", count);
}

__attribute__((visibility("default"))) int qemu_plugin_install(u64 id, const void *info, int argc, char **argv) {
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  qemu_plugin_register_vcpu_syscall_cb(id, on_call);
  return 0;
}
