package gitops

import (
	"context"
	"fmt"
	"time"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"cequence.cloud/saml-operator/config/gitops"
)

// Health is Argo CD's word for the state of an object.
type Health struct{ Status, Message string }

// ArgoCD runs config/gitops/argocd/health.lua as Argo CD does: in the same
// interpreter, with the few libraries that it gives to scripts of users, and
// with a second of time.
func ArgoCD(ctx context.Context, object *unstructured.Unstructured) (Health, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	l.SetContext(ctx)
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := l.CallByParam(lua.P{Fn: l.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return Health{}, fmt.Errorf("open the library %q: %w", name, err)
		}
	}
	l.SetGlobal("obj", luaValue(l, object.Object))
	if err := l.DoString(gitops.HealthLua); err != nil {
		return Health{}, fmt.Errorf("run health.lua: %w", err)
	}
	table, ok := l.Get(-1).(*lua.LTable)
	if !ok {
		return Health{}, fmt.Errorf("health.lua returns %s, not a table", l.Get(-1).Type())
	}
	return Health{lua.LVAsString(table.RawGetString("status")), lua.LVAsString(table.RawGetString("message"))}, nil
}

// luaValue makes a value of JSON one of Lua; null is nil.
func luaValue(l *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case bool:
		return lua.LBool(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case string:
		return lua.LString(v)
	case []any:
		table := l.CreateTable(len(v), 0)
		for _, item := range v {
			table.Append(luaValue(l, item))
		}
		return table
	case map[string]any:
		table := l.CreateTable(0, len(v))
		for key, item := range v {
			table.RawSetString(key, luaValue(l, item))
		}
		return table
	}
	return lua.LNil
}
