/* main.c - the program `actscope`: picks the command. */
#include <signal.h>
#include <string.h>

#include "cli/cli.h"

static void usage(FILE *to) {
  fputs(
      "usage: actscope COMMAND [options] [FILE...]\n"
      "\n"
      "  report   what flows through each layer in .npy, .npz and .safetensors files\n"
      "  plan     how each layer would be measured, in how much memory, and why\n"
      "  page     a page of what a monitor wrote over the steps of a training\n"
      "  watch    the same in the terminal, while it is written\n"
      "  stress   made-up layers, round after round, under a memory cap\n"
      "  info     devices, backends, versions\n"
      "\n"
      "actscope COMMAND --help has a command's options; actscope --version.\n",
      to);
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error to report, not a death */
  if (argc < 2) {
    usage(stderr);
    return EXIT_USAGE;
  }
  const char *command = argv[1];
  if (strcmp(command, "report") == 0) return command_report(argc - 1, argv + 1);
  if (strcmp(command, "plan") == 0) return command_plan(argc - 1, argv + 1);
  if (strcmp(command, "page") == 0) return command_page(argc - 1, argv + 1);
  if (strcmp(command, "watch") == 0) return command_watch(argc - 1, argv + 1);
  if (strcmp(command, "stress") == 0) return command_stress(argc - 1, argv + 1);
  if (strcmp(command, "info") == 0) return command_info(argc - 1, argv + 1);
  if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0 || strcmp(command, "help") == 0) {
    usage(stdout);
    return 0;
  }
  if (strcmp(command, "--version") == 0) {
    printf("actscope %s\n", actscope_version());
    return 0;
  }
  complain("unknown command '%s'; try actscope --help", command);
  return EXIT_USAGE;
}
