# pgcdc: Postgres to Databricks replication as four filters.
#
#   make            the four programs, in build/bin
#   make demo       the whole way on this machine, with a throwaway Postgres and warehouse
#   make check      all tests
#   make check-versions
#                   those that touch PostgreSQL, on each of VERSIONS (14 16 17 18)
#   make check-long a million (VALUES) random values of each type; then random operations and kills
#                   with new seeds, for FOR=8h or until one fails
#   make bench      speed, memory and cost beside baselines, half an hour at most; LINES="backlog
#                   snapshot" chooses (tests/bench/run --list), SCALE=0.01 takes fewer rows
#   make bench-peers
#                   the same for other programs of this kind, as far as they install here
#   make install    PREFIX (/usr/local), DESTDIR

PREFIX ?= /usr/local
DESTDIR ?=
BUILD ?= build
CC ?= cc
PKG_CONFIG ?= pkg-config

PROGRAMS = pgcdc-read cdc-batch cdc-merge dbx-load
LIBRARIES = libpq libcurl msgpack jansson libzstd

WARNINGS = -Wall -Wextra -Wconversion -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wvla \
           -Wcast-qual -Wwrite-strings
WERROR ?= -Werror
CFLAGS ?= -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong
ALL_CFLAGS = -std=c17 -D_GNU_SOURCE $(WARNINGS) $(WERROR) -Icommon $(CFLAGS) \
             $(shell $(PKG_CONFIG) --cflags $(LIBRARIES))
LDLIBS = -lm

LIBS_pgcdc-read = libpq
LIBS_cdc-batch  =
LIBS_cdc-merge  = libzstd
LIBS_dbx-load   = libcurl jansson

.PHONY: all
all: $(PROGRAMS:%=$(BUILD)/bin/%)

# The same rules serve two builds: the one to use, and one with failpoints for the tests.
# $(1) folder, $(2) more flags
define build
$(1)/obj/%.o: %.c Makefile
	@mkdir -p $$(@D)
	$$(CC) $$(ALL_CFLAGS) $(2) -MMD -MP -c -o $$@ $$<
$(foreach p,$(PROGRAMS),$(eval $(call program,$(1),$(p))))
-include $(shell find $(1)/obj -name '*.d' 2>/dev/null)
endef

define program
$(1)/bin/$(2): $(patsubst %.c,$(1)/obj/%.o,$(wildcard common/*.c $(2)/*.c))
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS) $$(LDFLAGS) -o $$@ $$^ $$(if $$(LIBS_$(2)),$$$$($$(PKG_CONFIG) --libs $$(LIBS_$(2)))) $$(LDLIBS)
endef

$(eval $(call build,$(BUILD),))
$(eval $(call build,$(BUILD)/failpoints,-DPGCDC_FAILPOINTS))

.PHONY: failpoints
failpoints: $(PROGRAMS:%=$(BUILD)/failpoints/bin/%)

# Unit tests: tests/unit/test_X.c, each with all modules but the mains, under ASan and UBSan.
SANITIZE = -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
UNIT = $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/test_*.c))
UNIT_SOURCES = $(filter-out %/main.c,$(wildcard common/*.c $(PROGRAMS:%=%/*.c)))

$(BUILD)/unit/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(filter-out -O2 -D_FORTIFY_SOURCE=2,$(ALL_CFLAGS)) $(SANITIZE) -MMD -MP -c -o $@ $<
$(BUILD)/unit/modules.a: $(UNIT_SOURCES:%.c=$(BUILD)/unit/obj/%.o)
	@rm -f $@
	ar qcs $@ $^
$(BUILD)/unit/%: $(BUILD)/unit/obj/tests/unit/%.o $(BUILD)/unit/modules.a
	$(CC) $(SANITIZE) -o $@ $^ $$($(PKG_CONFIG) --libs $(LIBRARIES) cmocka) $(LDLIBS)
-include $(shell find $(BUILD)/unit/obj -name '*.d' 2>/dev/null)

.PHONY: unit
unit: $(UNIT)
	@for t in $(UNIT); do echo "== $$t"; $$t || exit 1; done

.PHONY: demo check check-versions check-long bench bench-peers
demo:
	@tests/setup
	@$(MAKE) --no-print-directory all
	@tests/demo

check:
	@tests/setup
	@tests/check

VERSIONS ?= 14 16 17 18
TESTS ?= tests
check-versions:
	@tests/setup versions
	@VERSIONS="$(VERSIONS)" tests/versions $(TESTS)

FOR ?= 1000d
VALUES ?= 1000000
check-long:
	@tests/setup
	@$(MAKE) --no-print-directory all failpoints
	@LONG=1 VALUES=$(VALUES) $(BUILD)/venv/bin/python -m pytest -q -s -p no:cacheprovider \
	    tests/test_types.py tests/test_large_values.py -k 'random or gibibytes'
	@tests/model/run --for $(FOR) --shrink

LINES ?=
SCALE ?= 1
ROUNDS ?= 5
bench:
	@tests/setup
	@$(MAKE) --no-print-directory all
	@tests/bench/run --scale $(SCALE) --rounds $(ROUNDS) $(LINES)

PEERS ?=
bench-peers:
	@tests/setup peers
	@$(MAKE) --no-print-directory all
	@tests/bench/peers/run --scale $(SCALE) --rounds $(ROUNDS) $(PEERS)

.PHONY: install uninstall
MAN1 = $(foreach p,$(PROGRAMS),$(p)/$(p).1)
MAN5 = common/cdc-stream.5 common/cdc-state.5 common/cdc-metrics.5
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man5
	install -m 755 $(PROGRAMS:%=$(BUILD)/bin/%) $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(MAN1) $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 $(MAN5) $(DESTDIR)$(PREFIX)/share/man/man5
uninstall:
	rm -f $(PROGRAMS:%=$(DESTDIR)$(PREFIX)/bin/%) \
	      $(PROGRAMS:%=$(DESTDIR)$(PREFIX)/share/man/man1/%.1) \
	      $(MAN5:common/%=$(DESTDIR)$(PREFIX)/share/man/man5/%)

.PHONY: format lint clean
FORMATTED = $(wildcard common/*.[ch] $(PROGRAMS:%=%/*.[ch]) tests/unit/*.[ch])
format:
	clang-format -i $(FORMATTED)
lint:
	clang-format --dry-run -Werror $(FORMATTED)
	cppcheck --quiet --error-exitcode=1 --enable=warning,portability --inline-suppr \
	         --suppress=missingIncludeSystem --suppress=varFuncNullUB \
	         '-D_Noreturn=__attribute__((noreturn))' -Icommon common $(PROGRAMS)
clean:
	rm -rf $(BUILD)/bin $(BUILD)/obj $(BUILD)/failpoints $(BUILD)/unit
