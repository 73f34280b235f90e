#define _GNU_SOURCE
#include "files.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static bool said(const char *name) {
  perror(name);
  return false;
}

bool files_open(files *of, const char *input, const char *output, size_t element_size) {
  struct stat found;
  *of = (files){.element_size = element_size, .output = -1};
  of->input = open(input, O_RDONLY | O_CLOEXEC);
  if (of->input < 0 || fstat(of->input, &found) != 0) return said(input);
  of->elements = found.st_size / (int64_t)element_size;
  of->output = open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  return of->output >= 0 || said(output);
}

bool files_close(files *of) {
  close(of->input);
  return close(of->output) == 0 || said("the result");
}

bool files_read(void *self, int64_t element, size_t count, uint8_t *bytes) {
  const files *of = self;
  const size_t size = count * of->element_size;
  return pread(of->input, bytes, size, element * (int64_t)of->element_size) == (ssize_t)size;
}

bool files_write(void *self, int64_t element, size_t count, const uint8_t *bytes) {
  const files *of = self;
  const size_t size = count * of->element_size;
  return pwrite(of->output, bytes, size, element * (int64_t)of->element_size) == (ssize_t)size;
}
