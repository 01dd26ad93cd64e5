/* A plugin for QEMU's emulation of programs: prints how many instructions one has executed, at its end.
 *
 *     cc -O2 -shared -fPIC tests/tools/instructions.c -o instructions.so
 *     qemu-aarch64 -plugin ./instructions.so -L /usr/aarch64-linux-gnu PROGRAM
 *
 * Debian ships no header of the interface; these declarations are those of its version 1, which QEMU 4.2 to 8.2 take.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

int qemu_plugin_version = 1;

extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*translated)(uint64_t id, void *block));
extern void qemu_plugin_register_vcpu_tb_exec_inline(void *block, int add, void *counter, uint64_t number);
extern void qemu_plugin_register_atexit_cb(uint64_t id, void (*finished)(uint64_t id, void *user), void *user);
extern size_t qemu_plugin_tb_n_insns(const void *block);

static uint64_t count;

static void translated(uint64_t id, void *block) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, 0, &count, qemu_plugin_tb_n_insns(block));
}

static void finished(uint64_t id, void *user) {
    (void)id;
    (void)user;
    fprintf(stderr, "instructions %" PRIu64 "\n", count);
}

int qemu_plugin_install(uint64_t id, const void *info, int count_of_arguments, char **arguments) {
    (void)info;
    (void)count_of_arguments;
    (void)arguments;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
