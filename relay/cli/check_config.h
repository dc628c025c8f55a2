/*
 * `stagepost check config`: names all errors of a configuration file, and
 * prints config.example.
 */
#ifndef STAGEPOST_CLI_CHECK_CONFIG_H
#define STAGEPOST_CLI_CHECK_CONFIG_H

#include "relay/sys/config/file.h"

#define CONFIG_DEFAULT_PATH "/etc/stagepost/stagepost.conf"

/* argv from "config" on. 0: it can be served; 78: it cannot; 64. */
int check_config_main(int argc, char **argv);

/* Adds what only shows when the files are used: DKIM keys and certificate are
 * loaded, and keys and passwords of development mode are refused. To be called
 * after config_file_read(), whatever it found. */
void check_config_materials(struct config_file *f);

#endif
