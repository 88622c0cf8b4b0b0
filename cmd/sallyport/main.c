/* The tool `sallyport`: finds the subcommand and runs it. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "machine.h"
#include "sallyport.h"

struct command {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
};

static const struct command commands[] = {
    {"serve", "an echo server, until SIGINT or SIGTERM", serve_command},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_usage(FILE *to)
{
    fputs("Usage: sallyport SUBCOMMAND [OPTION]...\n"
          "       sallyport --help | --version\n\n"
          "Subcommands (each has --help):\n",
          to);
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\nExit status: 0 done, 1 it failed, 2 wrong usage.\n", to);
}

/* What was printed has to have arrived: a full disk is a failure too. */
static int finish(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    if (status == EXIT_DONE) fputs("sallyport: standard output can't be written\n", stderr);
    return status == EXIT_DONE ? EXIT_FAILED : status;
}

int main(int argc, char **argv)
{
    machine_ignore_broken_pipes(); /* they are errors of writing, see finish() */
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_usage(stdout);
        return finish(EXIT_DONE);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("sallyport %s\n%s\n", sally_version_string(), sally_build_info());
        return finish(EXIT_DONE);
    }
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return finish(commands[i].run(argc - 1, argv + 1));
    fprintf(stderr, "sallyport: there is no %s '%s'; try 'sallyport --help'\n",
            argv[1][0] == '-' ? "option" : "subcommand", argv[1]);
    return EXIT_USAGE;
}
