/* The version of the library and of the command. */
#ifndef LJT_VERSION_H
#define LJT_VERSION_H

#ifndef LJT_VERSION
#define LJT_VERSION "0.1.0"
#endif

#endif
