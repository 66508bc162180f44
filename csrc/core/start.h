/* start.h: which libcurl runs. */
#ifndef NONTAX_START_H
#define NONTAX_START_H

/* From nontax_start() on: curl_version_info() writes into memory of its own each time, and is not
 * for threads. */
extern unsigned nx_libcurl_version;

#endif
