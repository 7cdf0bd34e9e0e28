/* The one version that every program prints (--version) and writes into its files. */
#ifndef PGCDC_VERSION
#define PGCDC_VERSION "0.1.0"
#endif
