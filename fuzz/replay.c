/* replay.c: feeds a fuzz target the inputs that are kept, one file each: no fuzzer is needed. */
#include "target.h"

static void feed(const char *path)
{
    FILE *file = fopen(path, "rb");
    MUST(file);
    MUST(fseek(file, 0, SEEK_END) == 0);
    long size = ftell(file);
    MUST(size >= 0 && fseek(file, 0, SEEK_SET) == 0);
    uint8_t *data = malloc((size_t)size + 1);
    MUST(data);
    MUST(fread(data, 1, (size_t)size, file) == (size_t)size);
    MUST(fclose(file) == 0);
    (void)LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
}

int main(int count, char **paths)
{
    MUST(count > 1);
    for (int i = 1; i < count; i++) {
        feed(paths[i]);
    }
    printf("%d inputs\n", count - 1);
    return 0;
}
