# Stagepost. `make` builds ./stagepost; `make run` and `make test` install what
# they need first. Everything that is built goes below build/.

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:

PKGS := libuv openssl libgsasl hiredis jansson gmime-3.0 libzstd libcrypt libidn2 libconfig libseccomp
# libunbound.pc asks for a libevent.pc that Debian does not bring along: linked by name.
CC ?= cc
CLANG ?= clang

WARN := -Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -Wvla -Wformat=2
WARN += $(if $(WERROR),-Werror)
# Ubuntu's compiler defines a level of its own. A test looks at what came of it.
HARDEN := -fstack-protector-strong -fstack-clash-protection -fPIE \
	-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
HARDEN += $(if $(filter x86_64,$(shell uname -m)),-fcf-protection)
# Asked for when something is compiled (the packages may not be there before), and once.
PKG_CFLAGS = $(eval PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS)))$(PKG_CFLAGS)
PKG_LIBS = $(eval PKG_LIBS := $(shell pkg-config --libs $(PKGS)))$(PKG_LIBS)
BASE_CFLAGS = -std=c11 -D_GNU_SOURCE -I. -Ibuild/gen $(WARN) -g -MMD -MP $(PKG_CFLAGS)
LIBS = $(PKG_LIBS) -lunbound -lopendkim -lhttp_parser -lspf2
LINK_FLAGS := -pie -Wl,-z,relro,-z,now,-z,noexecstack

# A variant is a folder below build/ with flags of its own. `test` and `asan`
# have the fault points and scaled time limits that tests need.
CFLAGS_release := -O2 $(HARDEN)
CFLAGS_test := -O1 -fPIE -DSTAGEPOST_TEST_BUILD
CFLAGS_asan := -O1 -fPIE -fno-omit-frame-pointer -DSTAGEPOST_TEST_BUILD \
	-fsanitize=address,undefined -fno-sanitize-recover=undefined
CFLAGS_fuzz := -O1 -fno-omit-frame-pointer -DSTAGEPOST_TEST_BUILD \
	-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
LDFLAGS_release := $(LINK_FLAGS)
LDFLAGS_test := -pie
LDFLAGS_asan := -pie -fsanitize=address,undefined
CC_release := $(CC)
CC_test := $(CC)
CC_asan := $(CC)
CC_fuzz := $(CLANG)

SRC := $(shell find relay dkim api queue -name '*.c' | sort)
LIB_SRC := $(filter-out relay/main.c,$(SRC))
UNIT_SUPPORT := $(shell find tests/unit/support -name "*.c" 2>/dev/null | sort)
UNIT_SRC := $(filter-out $(UNIT_SUPPORT),$(shell find tests/unit -name "*.c" | sort))
FUZZ_SRC := $(sort $(wildcard tests/fuzz/*.c))
GEN := build/gen/queue/scripts.inc build/gen/api/console/files.inc build/gen/api/openapi.inc

.PHONY: all
all: stagepost

stagepost: build/release/stagepost
	cp $< $@.new && mv $@.new $@

# Lua scripts become C strings, so that the program is one file.
build/gen/queue/scripts.inc: queue/scripts/embed.sh $(sort $(wildcard queue/scripts/*.lua))
	@mkdir -p $(@D)
	sh queue/scripts/embed.sh $(filter %.lua,$^) > $@

# And so does the web console.
build/gen/api/console/files.inc: api/console/embed.sh $(sort $(wildcard api/console/*.html \
		api/console/*.js api/console/*.css api/console/*.svg))
	@mkdir -p $(@D)
	sh api/console/embed.sh CONSOLE $(filter-out %.sh,$^) > $@

build/gen/api/openapi.inc: api/console/embed.sh api/openapi.json
	@mkdir -p $(@D)
	sh api/console/embed.sh API api/openapi.json > $@

# The flags that the objects of a variant were built with: another CFLAGS builds them
# anew. -Werror stops a build and changes nothing in it.
define flags
build/$(1)/flags: export FLAGS = $$(filter-out -Werror,$$(BASE_CFLAGS)) $$(CFLAGS_$(1)) $$(CFLAGS)
build/$(1)/flags: always
	@mkdir -p $$(@D)
	@echo "$$$$FLAGS" | cmp -s - $$@ || echo "$$$$FLAGS" >$$@
endef
$(foreach v,release test asan fuzz,$(eval $(call flags,$(v))))
.PHONY: always
always:

define variant
build/$(1)/%.o: %.c build/$(1)/flags | $(GEN)
	@mkdir -p $$(@D)
	$$(CC_$(1)) $$(BASE_CFLAGS) $$(CFLAGS_$(1)) $$(CFLAGS) -c $$< -o $$@

build/$(1)/libstagepost.a: $$(LIB_SRC:%.c=build/$(1)/%.o)
	@rm -f $$@
	ar qcs $$@ $$^

build/$(1)/stagepost: build/$(1)/relay/main.o build/$(1)/libstagepost.a
	$$(CC_$(1)) $$(LDFLAGS_$(1)) -Wl,--dynamic-list=relay/main.dynlist -o $$@ $$^ $$(LIBS)

build/$(1)/libsupport.a: $$(UNIT_SUPPORT:%.c=build/$(1)/%.o)
	@mkdir -p $$(@D) && rm -f $$@
	ar qcs $$@ $$^

build/$(1)/tests/unit/%: build/$(1)/tests/unit/%.o build/$(1)/libsupport.a build/$(1)/libstagepost.a
	$$(CC_$(1)) $$(LDFLAGS_$(1)) -o $$@ $$^ $$(LIBS) -lcmocka

# Only their own support: the others stand in for the queue.
QUEUE_SUPPORT_$(1) := build/$(1)/tests/unit/support/queue_world.o build/$(1)/tests/unit/support/redis.o
build/$(1)/tests/unit/queue/%: build/$(1)/tests/unit/queue/%.o $$(QUEUE_SUPPORT_$(1)) build/$(1)/libstagepost.a
	$$(CC_$(1)) $$(LDFLAGS_$(1)) -o $$@ $$^ $$(LIBS) -lcmocka

unit-$(1)-bins: $$(UNIT_SRC:%.c=build/$(1)/%)
.PHONY: unit-$(1)-bins
-include $$(patsubst %.c,build/$(1)/%.d,$$(SRC) $$(UNIT_SRC) $$(UNIT_SUPPORT))
endef
$(foreach v,release test asan,$(eval $(call variant,$(v))))

build/release/bench/%: build/release/bench/%.o build/release/bench/latency.o \
		build/release/libstagepost.a
	$(CC_release) $(LDFLAGS_release) -o $@ $^ $(LIBS)

build/fuzz/%.o: %.c build/fuzz/flags | $(GEN)
	@mkdir -p $(@D)
	$(CC_fuzz) $(BASE_CFLAGS) $(CFLAGS_fuzz) $(CFLAGS) -c $< -o $@

build/fuzz/libstagepost.a: $(LIB_SRC:%.c=build/fuzz/%.o)
	@rm -f $@
	ar qcs $@ $^

build/fuzz/tests/fuzz/%: build/fuzz/tests/fuzz/%.o build/fuzz/libstagepost.a
	$(CC_fuzz) -fsanitize=fuzzer,address,undefined -o $@ $^ $(LIBS)
-include $(patsubst %.c,build/fuzz/%.d,$(SRC) $(FUZZ_SRC))

.PRECIOUS: build/%.o build/%.a

# Where `make install` puts things; DESTDIR goes before all of them.
PREFIX ?= /usr/local
bindir ?= $(PREFIX)/bin
sysconfdir ?= /etc
mandir ?= $(PREFIX)/share/man
docdir ?= $(PREFIX)/share/doc/stagepost
unitdir ?= $(PREFIX)/lib/systemd/system
sysusersdir ?= $(PREFIX)/lib/sysusers.d
tmpfilesdir ?= $(PREFIX)/lib/tmpfiles.d
MANUAL := build/man/stagepost.1 build/man/stagepost.conf.5
MONITORING := $(wildcard relay/dist/grafana-dashboard.json relay/dist/alerts.yml)
SUBSTITUTE := sed -e 's|/usr/bin/stagepost|$(bindir)/stagepost|' -e 's|/etc/stagepost|$(sysconfdir)/stagepost|'

build/man/stagepost.conf.5: build/man/stagepost.1
build/man/stagepost.1: build/release/stagepost relay/dist/manual.sh $(wildcard relay/dist/man/*.roff)
	sh relay/dist/manual.sh $< $(@D)

.PHONY: manual install uninstall
manual: $(MANUAL)

install: build/release/stagepost $(MANUAL)
	install -d $(addprefix $(DESTDIR),$(bindir) $(mandir)/man1 $(mandir)/man5 $(docdir)/examples $(unitdir) \
		$(sysusersdir) $(tmpfilesdir) $(sysconfdir)/stagepost)
	install -m 755 build/release/stagepost $(DESTDIR)$(bindir)/stagepost
	install -m 644 build/man/stagepost.1 $(DESTDIR)$(mandir)/man1/
	install -m 644 build/man/stagepost.conf.5 $(DESTDIR)$(mandir)/man5/
	install -m 644 README.md LICENSE $(DESTDIR)$(docdir)/
	install -m 644 config.example relay/dist/one-user.conf $(MONITORING) $(DESTDIR)$(docdir)/examples/
	$(SUBSTITUTE) relay/dist/stagepost.service >$(DESTDIR)$(unitdir)/stagepost.service
	install -m 644 relay/dist/stagepost.sysusers $(DESTDIR)$(sysusersdir)/stagepost.conf
	$(SUBSTITUTE) relay/dist/stagepost.tmpfiles >$(DESTDIR)$(tmpfilesdir)/stagepost.conf
	chmod 644 $(DESTDIR)$(unitdir)/stagepost.service $(DESTDIR)$(tmpfilesdir)/stagepost.conf

# What `install` put there; configuration, queue and users stay.
uninstall:
	rm -f $(addprefix $(DESTDIR),$(bindir)/stagepost $(mandir)/man1/stagepost.1 \
		$(mandir)/man5/stagepost.conf.5 $(unitdir)/stagepost.service \
		$(sysusersdir)/stagepost.conf $(tmpfilesdir)/stagepost.conf)
	rm -rf $(DESTDIR)$(docdir)

.PHONY: deb
deb:
	sh relay/dist/install-packages.sh deb
	rm -rf build/deb
	$(MAKE) --no-print-directory install DESTDIR=$(CURDIR)/build/deb/root PREFIX=/usr sysconfdir=/etc >/dev/null
	sh relay/dist/deb.sh

.PHONY: run test test-long lint check-asan fuzz bench clean
run:
	sh relay/dist/install-packages.sh run
	$(MAKE) stagepost
	exec ./stagepost dev $(ARGS)

test:
	sh relay/dist/install-packages.sh test
	sh tests/run.sh

test-long:
	sh relay/dist/install-packages.sh test
	sh tests/run.sh --long

check-asan:
	sh relay/dist/install-packages.sh test
	sh tests/run.sh --variant asan

lint:
	sh relay/dist/install-packages.sh test
	sh tests/lint/run.sh

fuzz: $(FUZZ_SRC:%.c=build/fuzz/%)
	sh tests/fuzz/run.sh $^

bench:
	sh relay/dist/install-packages.sh test
	sh bench/run.sh

clean:
	rm -rf build stagepost
