/* `stagepost backup` and `stagepost restore`: copies of the embedded queue (sys/proc/backup.h). */
#ifndef STAGEPOST_CLI_BACKUP_H
#define STAGEPOST_CLI_BACKUP_H

/* argv from "backup" or "restore" on; an exit code of sysexits.h. */
int backup_main(int argc, char **argv);
int restore_main(int argc, char **argv);

#endif
