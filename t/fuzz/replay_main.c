/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a fuzz target over the files and folders named, for builds without
 * libFuzzer: the corpus and past findings are replayed by `make check`.  Every
 * input is given whole and in an allocation of exactly its size, so that ASan
 * and valgrind see reads behind its end.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned replayed;

static int replay_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(size ? size : 1);
    if (!f || !data || fread(data, 1, size, f) != size) {
        perror(path);
        return 1;
    }
    fclose(f);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    replayed++;
    return 0;
}

static int replay(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        perror(path);
        return 1;
    }
    if (!S_ISDIR(st.st_mode))
        return replay_file(path, (size_t)st.st_size);

    struct dirent **entries;
    int n = scandir(path, &entries, NULL, alphasort), failed = 0;
    for (int i = 0; i < n; i++) {
        char name[4096];
        const char *base = entries[i]->d_name;
        if (base[0] != '.' && snprintf(name, sizeof name, "%s/%s", path, base) < (int)sizeof name &&
            stat(name, &st) == 0 && S_ISREG(st.st_mode))
            failed |= replay_file(name, (size_t)st.st_size);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    return failed || n < 0;
}

int main(int argc, char **argv)
{
    int failed = 0;
    /* Nothing at all is an input too. */
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++)
        failed |= replay(argv[i]);
    printf("%u inputs replayed\n", replayed);
    return failed;
}
