/* The version that `stagepost --version` and stagepost_build_info show. */
#ifndef STAGEPOST_BASE_VERSION_H
#define STAGEPOST_BASE_VERSION_H

#define STAGEPOST_VERSION "0.1.0"

#endif
