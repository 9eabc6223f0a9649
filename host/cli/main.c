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

static int command(int argc, char **argv) {
  static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
  } commands[] = {{"report", command_report}, {"plan", command_plan},     {"page", command_page},
                  {"watch", command_watch},   {"stress", command_stress}, {"info", command_info}};
  for (size_t i = 0; i < sizeof commands / sizeof *commands; ++i)
    if (strcmp(argv[1], commands[i].name) == 0) return commands[i].run(argc - 1, argv + 1);
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
    usage(stdout);
    return EXIT_ALL_ANALYSED;
  }
  if (strcmp(argv[1], "--version") == 0) {
    printf("actscope %s\n", actscope_version());
    return EXIT_ALL_ANALYSED;
  }
  complain("unknown command '%s'; try actscope --help", argv[1]);
  return EXIT_USAGE;
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error to report, not a death */
  if (argc < 2) {
    usage(stderr);
    return EXIT_USAGE;
  }
  return output_end(command(argc, argv));
}
