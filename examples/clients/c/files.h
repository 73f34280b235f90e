// Elements in a file, and their results in another; in place of a device's flash.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
  int input, output;
  int64_t elements;
  size_t element_size;
} files;

// Opens both, and says on standard error why it cannot.
bool files_open(files *of, const char *input, const char *output, size_t element_size);
bool files_close(files *of);

// As a step reads and writes.
bool files_read(void *self, int64_t element, size_t count, uint8_t *bytes);
bool files_write(void *self, int64_t element, size_t count, const uint8_t *bytes);
