/* The subcommands. Each gets its own name as argv[0] and returns the exit status. */
#ifndef SALLYPORT_COMMANDS_H
#define SALLYPORT_COMMANDS_H

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

int serve_command(int argc, char **argv);

#endif
